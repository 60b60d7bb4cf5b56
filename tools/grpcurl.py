"""Finds a program that can run the documentation's `grpcurl` lines.

In this order: grpcurl on the PATH; grpcurl that Go builds; `buf curl` from npm, with translated flags.
`python -m tools.grpcurl` prints the result, and why the earlier choices are not available.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import go_tools
from tools.check_protos import BUF_VERSION, INSTALLED

GRPCURL_VERSION = "v1.9.3"
MODULE = "github.com/fullstorydev/grpcurl/cmd/grpcurl"
BUILD_WITHIN_S = go_tools.BUILD_WITHIN_S
INSTALL_WITHIN_S = 120


class NotTranslatable(Exception):
    """`buf curl` cannot run this line. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that runs grpcurl lines. If `is_buf`, the line must be translated."""

    path: Path
    description: str
    is_buf: bool = False

    def command(self, line: str) -> list[str]:
        """Return the command for one line of shell. Raises: NotTranslatable."""
        first, *arguments = shlex.split(line)
        if first != "grpcurl":
            raise NotTranslatable("not a grpcurl line")
        return [str(self.path), *(_for_buf(arguments) if self.is_buf else arguments)]


def find() -> tuple[Tool | None, list[str]]:
    """Return the tool, or None, and the reason for each earlier choice that is not available."""
    reasons: list[str] = []
    on_path = shutil.which("grpcurl")
    if on_path is not None:
        return Tool(path=Path(on_path), description="grpcurl from the PATH"), reasons
    reasons.append("grpcurl is not on the PATH")
    try:
        built = go_tools.installed(MODULE, GRPCURL_VERSION)
        return Tool(path=built, description=f"grpcurl {GRPCURL_VERSION} built with Go"), reasons
    except go_tools.NotBuilt as failed:
        reasons.append(str(failed))
    buf = INSTALLED / "node_modules" / ".bin" / "buf"
    failure = None if buf.exists() else _install_buf()
    if failure is None:
        return Tool(path=buf, description=f"buf curl {BUF_VERSION} from npm", is_buf=True), reasons
    reasons.append(failure)
    return None, reasons


def _install_buf() -> str | None:
    npm = shutil.which("npm")
    if npm is None:
        return "npm, which could install buf, is not installed"
    INSTALLED.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(INSTALLED), "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]
    failure = _run([*command, "--loglevel=error", f"@bufbuild/buf@{BUF_VERSION}"], INSTALL_WITHIN_S)
    return None if failure is None else f"npm could not install buf: {failure}"


def _run(command: list[str], within_s: float) -> str | None:
    """Run a command. If it fails, return the last line of its stderr, or that it took too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not finish within {within_s:g} s"
    except OSError as failed:
        return str(failed.strerror)
    lines = done.stderr.strip().splitlines() or ["no message"]
    return None if done.returncode == 0 else lines[-1]


_WITH_VALUE = {"-d": "--data", "-H": "--header", "-cacert": "--cacert", "-cert": "--cert", "-key": "--key"}


def _for_buf(arguments: Sequence[str]) -> list[str]:
    """Translate arguments of grpcurl into those of `buf curl`."""
    flags: list[str] = []
    plaintext = False
    words: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        name = "-" + word.lstrip("-") if word.startswith("-") else word
        if name == "-plaintext":
            plaintext = True
        elif name in _WITH_VALUE and left:
            value = left.pop(0)
            flags += [_WITH_VALUE[name], "@-" if (name, value) == ("-d", "@") else value]  # standard input
        elif word.startswith("-"):
            raise NotTranslatable(f"buf curl has no {word}")
        else:
            words.append(word)
    url = ("http://" if plaintext else "https://") + (words.pop(0) if words else "")
    if plaintext:
        flags.append("--http2-prior-knowledge")
    match words:  # `list SERVICE` has no translation: buf cannot list the methods of one service
        case ["list"]:
            return ["curl", "--protocol", "grpc", *flags, "--list-services", url]
        case [method] if method not in ("list", "describe"):
            service, _, name = method.replace("/", ".").rpartition(".")
            return ["curl", "--protocol", "grpc", *flags, f"{url}/{service}/{name}"]
    raise NotTranslatable(f"buf curl has no {' '.join(words) or 'call without a method'}")


def main() -> int:
    """Print the tool and its path. If there is none, print why and return 1."""
    tool, reasons = find()
    for reason in reasons:
        print(f"({reason})")
    print(
        f"{tool.description}: {tool.path}"
        if tool is not None
        else "SKIPPED: no tool that can run grpcurl lines is available."
    )
    return 0 if tool is not None else 1


if __name__ == "__main__":
    sys.exit(main())
