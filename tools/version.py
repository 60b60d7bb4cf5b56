"""The version of the project. pyproject.toml has it; clients, wheels and stubs read it there.

`python -m tools.version` prints it. `python -m tools.version 1.2.3` sets it, and writes it into the few files that
cannot read it: the chart, the images of the compose file, the lock. A test holds them together.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ("pyproject.toml", r'^version = "([^"]+)"')
COPIES = (
    ("uv.lock", r'^name = "phoenix-gateway"\nversion = "([^"]+)"'),
    ("deploy/kubernetes/Chart.yaml", r"^version: (\S+)"),
    ("deploy/kubernetes/Chart.yaml", r'^appVersion: "([^"]+)"'),
    ("docker-compose.yml", r"^ +image: phoenix-gateway:(\S+)"),
)
_FORM = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")


def current(root: Path = ROOT) -> str:
    """Return the version of the project."""
    (found,) = _found(root, *SOURCE)
    return found


def differing(root: Path = ROOT) -> list[str]:
    """Return the files with another version, or without one."""
    return [name for name, pattern in COPIES if set(_found(root, name, pattern)) != {current(root)}]


def write(version: str, root: Path = ROOT) -> None:
    """Set the version everywhere. Raises: ValueError if it is none."""
    if not _FORM.fullmatch(version):
        raise ValueError(f"{version} is no version; write MAJOR.MINOR.PATCH, such as 1.2.3 or 1.2.3rc1")
    for name, pattern in (SOURCE, *COPIES):
        path = root / name
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(pattern, lambda match: match[0].replace(match[1], version), text, flags=re.M), "utf-8")


def _found(root: Path, name: str, pattern: str) -> list[str]:
    return re.findall(pattern, (root / name).read_text(encoding="utf-8"), re.M)


def main(arguments: list[str]) -> int:
    """Print the version, or set it."""
    if arguments:
        try:
            write(arguments[0])
        except ValueError as wrong:
            print(wrong, file=sys.stderr)
            return 2
    print(current())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
