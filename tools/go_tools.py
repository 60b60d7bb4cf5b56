"""Builds programs with Go, once a machine: the results are below the user's cache, so that each clone finds them.

A program that cannot be built is a reason, never a failure: tests that need it are skipped and report the reason.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BUILD_WITHIN_S = 420
SKIP_SLOW_BUILDS = "SKIP_SLOW_BUILDS"
"""The environment variable with which a program that takes minutes to build is used only where it was built before."""


class NotBuilt(Exception):
    """The program is not available; the text says why and what to do."""


class NotBuiltNow(NotBuilt):
    """It would take minutes to build it, and `SKIP_SLOW_BUILDS` is set."""


def cache_folder() -> Path:
    """Return the folder of what this project builds or installs once a machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phoenix-gateway"


def installed(package: str, version: str, *, slow: bool = False) -> Path:
    """Return a published program in a pinned version. `slow`: building it takes minutes. Raises: NotBuilt."""
    name = package.rpartition("/")[2]
    return _cached(f"{name}-{version}", ["install", f"{package}@{version}"], name, None, slow)


def built(module: Path, package: str = ".", *, slow: bool = False) -> Path:
    """Return a program that the Go module in this folder pins in its go.mod. Args: as `installed`. Raises: NotBuilt."""
    digest = hashlib.sha256(package.encode())
    for path in sorted(path for path in module.rglob("*") if path.is_file()):
        digest.update(path.read_bytes())
    name = module.name if package == "." else package.rpartition("/")[2]
    return _cached(f"{name}-{digest.hexdigest()[:12]}", ["build", package], name, module, slow)


def downloaded(module: str) -> Path:
    """Return the folder of a Go module's files, such as "example.com/module@v1.0.0". Raises: NotBuilt."""
    described = _run(
        [_go(f"{module} is downloaded"), "mod", "download", "-json", module], tempfile.gettempdir(), Path("/")
    )
    return Path(json.loads(described)["Dir"])


def run_go(arguments: Sequence[str], module: Path) -> None:
    """Run a command of Go in the folder of a module. Raises: NotBuilt."""
    _run([_go(f"{module.name} is built"), *arguments], tempfile.gettempdir(), module)


def _go(purpose: str) -> str:
    go = shutil.which("go")
    if go is None:
        raise NotBuilt(f"{purpose} with Go, which is not installed")
    return go


def _cached(key: str, arguments: Sequence[str], name: str, module: Path | None, slow: bool) -> Path:
    target = cache_folder() / "bin" / key
    if target.exists():
        return target
    go = _go(f"{name} is built")
    if slow and os.environ.get(SKIP_SLOW_BUILDS):
        what = name if module is None else "/".join(module.parts[-2:])
        raise NotBuiltNow(f"{what} takes minutes to build with Go; `make test-faults` builds it, once a machine")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent test workers wait for one build
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                _run([go, arguments[0], *_output(arguments[0], folder, name), *arguments[1:]], folder, module)
                os.replace(Path(folder) / name, target)
    return target


def _output(command: str, folder: str, name: str) -> list[str]:
    return ["-o", f"{folder}/{name}"] if command == "build" else []


def _run(command: list[str], folder: str, module: Path | None) -> str:
    """Run Go and return what it prints. Raises: NotBuilt with the last line of its stderr, or that it took too long."""
    environ: Mapping[str, str] = {**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"}
    try:
        done = subprocess.run(
            command,
            cwd=module,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotBuilt(f"Go did not finish within {BUILD_WITHIN_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NotBuilt(f"Go failed: {last}")
    return done.stdout
