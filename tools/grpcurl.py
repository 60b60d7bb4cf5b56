"""Find a program that can run the documentation's `grpcurl` lines: grpcurl itself, one built with Go, or `buf curl`.

In this order: on the PATH; built before, or now if Go is there, into build/bin; buf from npm, its flags translated.
`python -m tools.grpcurl` says which it is and why not another.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.check_protos import BUF_VERSION, INSTALLED

ROOT = Path(__file__).resolve().parent.parent
GRPCURL_VERSION = "v1.9.3"
MODULE = "github.com/fullstorydev/grpcurl/cmd/grpcurl"
BUILD_WITHIN_S = 300
INSTALL_WITHIN_S = 120


class NotTranslatable(Exception):
    """`buf curl` has no equal of this line; the text says of what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that runs grpcurl lines. `is_buf`: the line has to be translated."""

    path: Path
    told: str
    is_buf: bool = False

    def command(self, line: str) -> list[str]:
        """Return what to run for one line as a shell would read it. Raises: NotTranslatable."""
        first, *arguments = shlex.split(line)
        if first != "grpcurl":
            raise NotTranslatable("not a grpcurl line")
        return [str(self.path), *(_for_buf(arguments) if self.is_buf else arguments)]


def find() -> tuple[Tool | None, list[str]]:
    """Return the tool, or None, and why each one before it could not be had."""
    reasons: list[str] = []
    on_path = shutil.which("grpcurl")
    if on_path is not None:
        return Tool(path=Path(on_path), told="grpcurl from the PATH"), reasons
    reasons.append("grpcurl is not on the PATH")
    built = ROOT / "build" / "bin" / f"grpcurl-{GRPCURL_VERSION}"
    failure = None if built.exists() else _build(built)
    if failure is None:
        return Tool(path=built, told=f"grpcurl {GRPCURL_VERSION} built with Go"), reasons
    reasons.append(failure)
    buf = INSTALLED / "node_modules" / ".bin" / "buf"
    failure = None if buf.exists() else _install_buf()
    if failure is None:
        return Tool(path=buf, told=f"buf curl {BUF_VERSION} from npm", is_buf=True), reasons
    reasons.append(failure)
    return None, reasons


def _build(target: Path) -> str | None:
    """Build grpcurl at its pinned version; return why it could not be done."""
    go = shutil.which("go")
    if go is None:
        return "Go is not there to build it"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers that need it at once wait for one build
        if target.exists():
            return None
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            environ = {"GOBIN": folder, "CGO_ENABLED": "0"}
            failure = _run([go, "install", f"{MODULE}@{GRPCURL_VERSION}"], BUILD_WITHIN_S, environ)
            if failure is not None:
                return f"Go could not build it: {failure}"
            os.replace(Path(folder) / "grpcurl", target)
    return None


def _install_buf() -> str | None:
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not there to bring buf"
    INSTALLED.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(INSTALLED), "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]
    failure = _run([*command, "--loglevel=error", f"@bufbuild/buf@{BUF_VERSION}"], INSTALL_WITHIN_S, {})
    return None if failure is None else f"npm could not bring buf: {failure}"


def _run(command: list[str], within_s: float, environ: dict[str, str]) -> str | None:
    """Run a command; return the end of what it said, or that it took too long, where it failed."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done within {within_s:g} s"
    except OSError as failed:
        return str(failed.strerror)
    lines = done.stderr.strip().splitlines() or ["no message"]
    return None if done.returncode == 0 else lines[-1]


_WITH_VALUE = {"-d": "--data", "-H": "--header", "-cacert": "--cacert", "-cert": "--cert", "-key": "--key"}


def _for_buf(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of `buf curl` that do what these of grpcurl do."""
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
    match words:  # `list SERVICE` is left out: buf lists the methods of all services or of none
        case ["list"]:
            return ["curl", "--protocol", "grpc", *flags, "--list-services", url]
        case [method] if method not in ("list", "describe"):
            service, _, name = method.replace("/", ".").rpartition(".")
            return ["curl", "--protocol", "grpc", *flags, f"{url}/{service}/{name}"]
    raise NotTranslatable(f"buf curl has no {' '.join(words) or 'call without a method'}")


def main() -> int:
    """Print the tool and its path, or why there is none (exit code 1)."""
    tool, reasons = find()
    for reason in reasons:
        print(f"({reason})")
    print(f"{tool.told}: {tool.path}" if tool is not None else "SKIPPED: no tool can run grpcurl lines here.")
    return 0 if tool is not None else 1


if __name__ == "__main__":
    sys.exit(main())
