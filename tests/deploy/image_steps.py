"""Builds what the Dockerfile describes without Docker: its steps, one by one, in a folder in place of an image.

The base image is a virtual environment of the same Python. /app is a folder below `root`. Stages follow each other in
the same place, so that what a later stage copies from an earlier one finds its own path again, as in an image.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
STEP_WITHIN_S = 400
_OF_THE_MACHINE = ("PIP_", "UV_", "SSL_CERT", "HTTPS_PROXY", "NO_PROXY")
"""Where its packages come from, as a builder is told by build arguments."""


def steps() -> list[list[str]]:
    """Return the lines of the Dockerfile as words."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]


class Image:
    """The image of the last stage, once `build` has returned."""

    def __init__(self, root: Path, python: Path) -> None:
        """Args: `python`: an interpreter of the version of the base image."""
        self.root = root
        self._python = python
        self._base = root / "base"
        self._work = root / "app"
        self._stages: dict[str, Path] = {}
        self.environ: dict[str, str] = {}
        self.command: list[str] = []
        self.user = ""
        subprocess.run([python, "-m", "venv", self._base], check=True, timeout=STEP_WITHIN_S)

    def build(self) -> None:
        """Take every step. Raises: AssertionError with the output of a step that fails."""
        for word, *arguments in steps():
            getattr(self, f"_{word.lower()}")(*arguments)

    def run(self, command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the image's working directory, with the image's environment and no other."""
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self._work if self._work.exists() else self.root,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STEP_WITHIN_S,
            check=False,
        )

    def placed(self, text: str) -> str:
        """Return a path or text of the Dockerfile as it is here."""
        return text.replace("/app", str(self._work))

    def _from(self, image: str, *name: str) -> None:
        if self._work.exists():
            shutil.move(self._work, self._stages["build"])
        if name:
            self._stages[name[1]] = self.root / f"stage-{name[1]}"
        self.environ = {"PATH": f"{self._base / 'bin'}:/usr/bin:/bin", "HOME": str(self.root)}
        self.environ |= {name: text for name, text in os.environ.items() if name.startswith(_OF_THE_MACHINE)}
        self.environ |= {"UV_PYTHON": str(self._python), "UV_CACHE_DIR": str(Path.home() / ".cache" / "uv")}

    def _workdir(self, path: str) -> None:
        Path(self.placed(path)).mkdir(parents=True, exist_ok=True)

    def _env(self, *settings: str) -> None:
        for setting in settings:
            name, _, value = setting.partition("=")
            self.environ[name] = self.placed(value).replace("$PATH", self.environ["PATH"])

    def _run(self, *words: str) -> None:
        done = self.run(shlex.join(words))
        assert done.returncode == 0, f"RUN {shlex.join(words)}\n{done.stdout}{done.stderr}"

    def _copy(self, *paths: str) -> None:
        if paths[0].startswith("--from="):
            made = self._stages[paths[0].partition("=")[2]] / Path(paths[1]).relative_to("/app")
            shutil.copytree(made, self.placed(paths[2]), symlinks=True)
            return
        *sources, target = paths
        for source in sources:
            place = self._work / (Path(source).name if target.endswith("/") else target)
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=_ignored)
            else:
                shutil.copyfile(ROOT / source, place)

    def _user(self, user: str) -> None:
        self.user = user

    def _expose(self, port: str) -> None:
        pass

    def _entrypoint(self, *words: str) -> None:
        assert words == ("[]",)

    def _cmd(self, *words: str) -> None:
        self.command = [word.strip("[],") for word in words]


def _ignored(folder: str, names: list[str]) -> set[str]:
    rules = [
        rule.removeprefix("**/") for rule in (ROOT / ".dockerignore").read_text().splitlines() if rule[:3] == "**/"
    ]
    return {name for name in names if any(fnmatch(name, rule) for rule in rules)}
