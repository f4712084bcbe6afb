"""Replays a Dockerfile in a bare Debian or Ubuntu root, where there is neither Docker nor a GPU.

sudo python3 docker/replay.py docker/Dockerfile.orin --root /srv/replay --suite bullseye
    --host-file /dev/null=/usr/lib/python3/dist-packages/tensorrt.py
sudo python3 docker/replay.py docker/Dockerfile --root /srv/replay --build-arg
    TORCH=torch==2.13.0 --build-arg SPCONV=spconv==2.3.8 --build-arg FORCE_CUDA=0

FROM becomes a fresh root made by debootstrap (needs root), so what NVIDIA's base holds is missing:
give another torch by --build-arg, and an empty tensorrt.py by --host-file. COPY takes the files
that git tracks. Everything else is done as written: ARG, ENV, WORKDIR, USER and each RUN, in a
chroot, until the first that fails. It shows that the steps are whole and that nothing of this
machine is needed; NVIDIA's base it cannot show.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_IGNORED = ("CMD", "ENTRYPOINT", "EXPOSE", "LABEL", "HEALTHCHECK", "STOPSIGNAL")


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("--root", type=Path, required=True, help="made anew; must not exist")
    parser.add_argument("--suite", default="bookworm", help="for debootstrap [%(default)s]")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--host-file",
        action="append",
        default=["/etc/resolv.conf"],
        metavar="PATH[=PLACE]",
        help="of this machine, put into the root: its proxy's certificate, its pip.conf, a wheel",
    )
    return parser.parse_args()


def main() -> None:
    """Replays, and exits with the code of the first step that fails."""
    args = parse_args()
    if args.root.exists():
        sys.exit(f"error: {args.root} exists; remove it or choose another --root")
    if shutil.which("debootstrap") is None:
        sys.exit("error: debootstrap is not installed: apt-get install debootstrap")
    steps = instructions(args.dockerfile.read_text(encoding="utf-8"))
    build = Build(args.root, dict(option.split("=", 1) for option in args.build_arg))
    packages = ["debootstrap", "--variant=minbase", args.suite, str(args.root), args.mirror]
    show(f"FROM: {shlex.join(packages)}")
    subprocess.run(packages, check=True, stdout=subprocess.DEVNULL)
    for option in args.host_file:
        name, _, place = option.partition("=")
        target = args.root / (place or name).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(name, target)
    with ExitStack() as mounts:
        for name in ("proc", "dev"):
            place = str(args.root / name)
            subprocess.run(["mount", "--bind", f"/{name}", place], check=True)
            mounts.callback(subprocess.run, ["umount", place], check=True)
        try:
            for keyword, text in steps:
                build.step(keyword, text)
        except subprocess.CalledProcessError as error:
            sys.exit(f"error: the step failed with code {error.returncode}: {text}")
    show(f"replayed {len(steps)} instructions in {args.root}")


def instructions(text: str) -> list[tuple[str, str]]:
    """(keyword, rest) of each instruction, comments dropped and continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.strip().split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(keyword.upper(), rest) for keyword, rest in found]


@dataclass
class Build:
    """What has been built so far.

    Attributes:
        root: of the file system.
        given: values of --build-arg.
        arguments: by ARG; seen by RUN as Docker does it.
        environment: by ENV.
        directory: by WORKDIR.
        user: by USER.
    """

    root: Path
    given: dict[str, str]
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH, "HOME": "/root"})
    directory: str = "/"
    user: str = "root"

    def step(self, keyword: str, text: str) -> None:
        """Does one instruction.

        Raises:
            CalledProcessError: if a RUN fails.
        """
        show(f"{keyword} {text}")
        if keyword == "ARG":
            name, _, default = text.partition("=")
            self.arguments[name] = self.given.get(name, default.strip('"'))
        elif keyword == "ENV":
            for assignment in shlex.split(text):
                name, _, value = assignment.partition("=")
                self.environment[name] = self.filled(value)
        elif keyword == "WORKDIR":
            self.directory = self.filled(text)
            self.inside(self.directory).mkdir(parents=True, exist_ok=True)
        elif keyword == "USER":
            self.user = text
            self.environment["HOME"] = self.home()
        elif keyword == "COPY":
            self.copy(shlex.split(text))
        elif keyword == "RUN":
            self.run(text)
        elif keyword not in ("FROM", *_IGNORED):
            sys.exit(f"error: {keyword} is not known here; extend docker/replay.py")

    def run(self, command: str) -> None:
        """RUN: by /bin/sh, as Docker does it, with arguments and environment."""
        variables = {**self.arguments, **self.environment}
        inside = f"cd {shlex.quote(self.directory)} && {command}"
        subprocess.run(
            [
                *("chroot", f"--userspec={self.user}", str(self.root), "/usr/bin/env", "-i"),
                *(f"{name}={value}" for name, value in variables.items()),
                *("/bin/sh", "-c", inside),
            ],
            check=True,
        )

    def copy(self, words: list[str]) -> None:
        """COPY: tracked files, folders with what is in them."""
        *sources, target = [word for word in words if not word.startswith("--")]
        owner = next((w.partition("=")[2] for w in words if w.startswith("--chown=")), "root")
        for source in sources:
            for name in tracked(source):
                inner = Path(name).relative_to(source) if name != source else Path(name).name
                place = self.inside(target) / inner
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, place)
        owned = ["chroot", str(self.root), "chown", "-R", owner, self.absolute(target)]
        subprocess.run(owned, check=True)

    def home(self) -> str:
        """Of the user, as /etc/passwd has it."""
        lines = (self.root / "etc/passwd").read_text(encoding="utf-8").splitlines()
        entries = [line.split(":") for line in lines]
        return next(entry[5] for entry in entries if self.user in (entry[0], entry[2]))

    def absolute(self, path: str) -> str:
        """A path as seen within the root."""
        return str(Path(self.directory, path))

    def inside(self, path: str) -> Path:
        """The same path as seen from outside."""
        return self.root / self.absolute(path).lstrip("/")

    def filled(self, text: str) -> str:
        """``${NAME}`` replaced by its value."""
        known = {**self.arguments, **self.environment}
        return re.sub(r"\$\{(\w+)\}", lambda match: known.get(match[1], ""), text)


def tracked(source: str) -> list[str]:
    """Files of the repository that a COPY takes: a file, or all below a folder.

    Exits where there are none: Docker would fail too.
    """
    listed = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "--", source],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    found = [name for name in listed if (REPOSITORY / name).is_file() and not ignored(name)]
    if not found:
        sys.exit(f"error: COPY {source}: no tracked file")
    return found


def ignored(name: str) -> bool:
    """Whether .dockerignore leaves it out (top-level names and simple patterns)."""
    patterns = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    parts = Path(name).parts
    return any(fnmatch(part, pattern.removeprefix("**/")) for pattern in patterns for part in parts)


def show(text: str) -> None:
    """One step, on its own line."""
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    main()
