import io

from build_progress import follow

LOG = ["running build_ext\n", "  [1/3] c++ -c a.cpp\n", "warning: [2/3] files\n"]
LOG += ["  [2/3] c++ -c b.cpp\n", "  [3/3] c++ -c c.cpp\n"]


def progress(seconds, *, in_place):
    """What is shown when the clock reads ``seconds`` in turn: once at the start, then each step."""
    out = io.StringIO()
    clock = iter(seconds)
    assert list(follow(LOG, out, in_place=in_place, clock=lambda: next(clock))) == LOG
    return out.getvalue()


def test_terminal_rewrites_one_line_at_each_step():
    assert progress([0, 5, 65, 130], in_place=True) == (
        "mmcv:   1 of 3 files compiled, 0 min 05 s\r"
        "mmcv:   2 of 3 files compiled, 1 min 05 s\r"
        "mmcv:   3 of 3 files compiled, 2 min 10 s\n"
    )


def test_log_gets_a_line_every_half_minute_and_at_the_end():
    assert progress([0, 5, 34, 35], in_place=False) == (
        "mmcv:   1 of 3 files compiled, 0 min 05 s\nmmcv:   3 of 3 files compiled, 0 min 35 s\n"
    )
    assert "2 of 3" in progress([0, 5, 35, 36], in_place=False)  # 30 s after the first line


def test_nothing_is_shown_without_a_compiler_run():
    out = io.StringIO()
    assert list(follow(["Using cached mmcv.whl\n"], out, in_place=False)) == [
        "Using cached mmcv.whl\n"
    ]
    assert out.getvalue() == ""
