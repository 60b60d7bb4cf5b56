"""Checks the protos with buf: lint, format and breaking changes.

npm installs a pinned version of buf into build/. Without npm, or if npm cannot reach its registry, the checks are
skipped and the output says so. In CI (`CI` is set), a failing npm is an error.
Breaking changes are relative to the last commit of the main branch that changed the protos (`PROTOS_AGAINST` names
another commit), and to the last release: the newest tag `v1.2.3` that this commit descends from.
"""

from __future__ import annotations

import importlib.resources
import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUF_VERSION = "1.75.0"
INSTALLED = ROOT / "build" / f"buf-{BUF_VERSION}"
GOOGLEAPIS = ("google/rpc/status.proto",)


def install() -> Path | None:
    """Install the pinned buf and return its path. If that is not possible, print the reason and return None."""
    npm = shutil.which("npm")
    if npm is None:
        print("SKIPPED buf lint, format and breaking: npm is not installed.")
        return None
    binary = INSTALLED / "node_modules" / ".bin" / "buf"
    if binary.exists():
        return binary
    INSTALLED.mkdir(parents=True, exist_ok=True)
    # buf works without its install script, which only replaces a wrapper by the binary.
    command = [npm, "install", "--prefix", str(INSTALLED), "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]
    command += ["--loglevel=error", f"@bufbuild/buf@{BUF_VERSION}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"SKIPPED buf lint, format and breaking: npm could not install buf.\n{done.stderr.strip()}")
        if os.environ.get("CI"):
            sys.exit(1)
        return None
    return binary


def copy_googleapis(base: Path) -> None:
    """Copy the googleapis protos that ours import below `base`, where buf.yaml expects them."""
    for name in GOOGLEAPIS:
        source = importlib.resources.files("google.rpc") / Path(name).name
        target = base / "build" / "googleapis" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


def git(*arguments: str) -> bytes | None:
    """Return the output of a git command, or None if git, the repository or the revision is missing."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, check=False, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def commit_before() -> str | None:
    """Return the commit with which the protos must stay compatible, or None."""
    named = os.environ.get("PROTOS_AGAINST")
    for revision in [named] if named else ["origin/main", "main"]:
        found = git("log", "-1", "--format=%H", revision, "--", "protos/gateway")
        if found and found.strip():
            return found.decode().strip()
    return None


def last_release() -> str | None:
    """Return the tag of the last release; None before the first."""
    found = git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    return found.decode().strip() if found else None


def unpack(commit: str, name: str) -> Path | None:
    """Write the protos of a commit and the current buf.yaml into a folder of this name and return it."""
    archive = git("archive", "--format=tar", commit, "protos")
    if archive is None:
        return None
    base = ROOT / "build" / name
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(base, filter="data")
    shutil.copyfile(ROOT / "buf.yaml", base / "buf.yaml")
    copy_googleapis(base)
    return base


def run(title: str, *command: str | Path) -> bool:
    """Run one check in the project's root and tell whether it passed."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    print(f"{title}: {'ok' if done.returncode == 0 else 'FAILED'}", flush=True)
    return done.returncode == 0


def main() -> int:
    """Run all three checks and report each."""
    buf = install()
    if buf is None:
        return 0
    copy_googleapis(ROOT)
    passed = [
        run("buf lint", buf, "lint"),
        run("buf format", buf, "format", "--diff", "--exit-code", "--path", "protos/gateway"),
    ]
    for commit, folder, missing in (
        (commit_before(), "protos-before", "main has no earlier commit with protos"),
        (last_release(), "protos-released", "there is no release yet"),
    ):
        before = unpack(commit, folder) if commit else None
        if commit is None or before is None:
            print(f"SKIPPED buf breaking: {missing}.")
        else:
            passed.append(run(f"buf breaking against {commit[:12]}", buf, "breaking", "--against", before))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
