"""The page's style sheet: one colour a role, used by every table, chart and picture."""

STYLE = """
:root { color-scheme: light dark;
  --page: #fcfcfb; --text: #1d2126; --soft: #626a73; --line: #dfe2e6; --panel: #f3f4f5;
  --teacher: #737a83; --baseline: #2f74c0; --control: #c77f14; --distilled: #16895a;
  --other: #7d5ba6; --truth: #d6249f; --warn: #fff4da; --warn-line: #dfae43; }
@media (prefers-color-scheme: dark) { :root {
  --page: #15181c; --text: #e4e7ea; --soft: #9aa3ad; --line: #333a42; --panel: #1e2328;
  --teacher: #9ba3ad; --baseline: #66a6ea; --control: #e5a443; --distilled: #41bf8a;
  --other: #b294dd; --truth: #f25cc4; --warn: #2e2715; --warn-line: #8a6d2a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 40px 28px 64px; max-width: 1120px; background: var(--page);
  color: var(--text); font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 15px; font-weight: 600; letter-spacing: .02em; color: var(--soft); margin: 0; }
a { color: var(--baseline); } h2 { font-size: 20px; margin: 52px 0 6px; }
p { margin: 6px 0; } .soft { color: var(--soft); font-size: 14px; }
.headline { font-size: 23px; line-height: 1.4; font-weight: 600; margin: 10px 0 18px; }
.caveats { background: var(--warn); border-left: 4px solid var(--warn-line);
  padding: 12px 18px; border-radius: 4px; font-size: 15px; }
.caveats { overflow-wrap: anywhere; }
.caveats ul { margin: 4px 0 0; padding-left: 20px; }
.scroll { overflow-x: auto; margin-top: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 8px 12px; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: 13px; vertical-align: bottom;
  white-space: normal; }
th:first-child, td:first-child { text-align: left; padding-left: 4px; }
table.records { font-size: 13px; }
table.records td, table.records th { text-align: left; padding: 5px 10px 5px 4px; }
table.records td:nth-child(n+4), table.latency td:last-child { white-space: normal;
  overflow-wrap: anywhere; min-width: 120px; }
table.latency td:last-child { min-width: 260px; font-size: 13px; color: var(--soft); }
tr.distilled td { font-weight: 600; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  margin-right: 9px; background: currentColor; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0; font-size: 14px;
  color: var(--soft); }
.role-teacher { color: var(--teacher); } .role-baseline { color: var(--baseline); }
.role-control { color: var(--control); } .role-distilled { color: var(--distilled); }
.role-other { color: var(--other); } .truth { color: var(--truth); }
.scroll > svg { min-width: 640px; }
svg { display: block; width: 100%; height: auto; } svg.hidden { position: absolute; }
svg text { fill: var(--text); font: 13px system-ui, Arial, sans-serif; }
svg .tick { fill: var(--soft); font-size: 12px; } svg .title { font-weight: 600; }
svg .value { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--line); stroke-width: 1; }
.reference { stroke: currentColor; stroke-width: 1.5; stroke-dasharray: 5 4; }
.dot { fill: currentColor; fill-opacity: .75; } .mean { stroke: currentColor; stroke-width: 3; }
.bar { fill: currentColor; }
.curve { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.curve.faint { stroke-width: 1; opacity: .35; }
.charts.small { grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(440px, 1fr)); gap: 20px; }
/* over a picture, whatever the theme: the roles' hues, bright, and lines that do not scale */
.panels { --teacher: #e3e6ea; --baseline: #58a6ff; --control: #ffb03b; --distilled: #35e08f;
  --truth: #ff5fd2; }
.halo, .box { fill: none; vector-effect: non-scaling-stroke; }
.halo { stroke: #000; stroke-opacity: .4; stroke-width: 3.5px; }
.box { stroke: currentColor; stroke-width: 2px; }
.box.false { stroke-dasharray: 5 4; } .box.missed { stroke-dasharray: 2 4; }
.panels { display: grid; gap: 10px; margin: 16px 0 26px; }
.panels.tall { grid-template-columns: repeat(4, 1fr); }
.panels.wide { grid-template-columns: repeat(2, 1fr); }
.panels.bev { grid-template-columns: repeat(3, 1fr); margin-top: 6px; }
.panels.bev svg { background: #14171b; } .box line { stroke: inherit; }
.box.object { stroke: none; fill: var(--truth); fill-opacity: .4; }
.box.object.missed { fill-opacity: 1; }
.box polygon, .box line { vector-effect: non-scaling-stroke; }
.bev .box { stroke-width: 1.4px; }
.ring { fill: none; stroke: #5c646d; stroke-width: 2; stroke-dasharray: 10 10; }
.ego { fill: #e8ebee; } svg .ring-name { fill: #8d959e; font-size: 26px; }
figure { margin: 0; } figure svg { border-radius: 4px; background: var(--panel); }
figcaption { font-size: 13px; color: var(--soft); margin-top: 5px; }
pre { background: var(--panel); padding: 12px 16px; border-radius: 6px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(245px, 1fr));
  gap: 0 24px; margin: 10px 0; font-size: 14px; }
.facts div { padding: 6px 4px; border-bottom: 1px solid var(--line); }
.facts dt { color: var(--soft); font-size: 12.5px; } .facts dd { margin: 0;
  overflow-wrap: anywhere; }
.missing { color: var(--soft); font-style: italic; }
table.classes td { padding: 3px 9px; font-size: 13px; border: 0; }
table.classes td:nth-child(2) { text-align: left; }
table.classes.of-1 tr:nth-child(n) td, table.classes.of-2 tr:nth-child(2n) td,
table.classes.of-3 tr:nth-child(3n) td, table.classes.of-4 tr:nth-child(4n) td {
  border-bottom: 1px solid var(--line); }
@media (max-width: 760px) {
  .panels.tall, .panels.wide, .panels.bev { grid-template-columns: 1fr 1fr; }
  .charts { grid-template-columns: 1fr; } .headline { font-size: 19px; } }
"""
