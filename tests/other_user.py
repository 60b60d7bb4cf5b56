"""Runs code as another user and group than the tests', as containers do. Only root can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway_process import ROOT

USER, GROUP = 1000, 2000
"""Those of the image, and of `fsGroup` in the chart."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes its user: run the tests as root (sudo make test)")
_DROP = f"""
import os
os.setgroups([{GROUP}])
os.setgid({USER})
os.setuid({USER})
"""


def result_as_user(before: str, after: str, argument: Any) -> Any:
    """Run `before` as root, which imports what is needed, then `after` as user 1000 with group 2000.

    Both see `argument`; `after` sets `result`, which is returned. Both pass as JSON.
    """
    script = (
        f"import json, sys\nargument = json.loads(sys.argv[1])\n{before}\n{_DROP}\n{after}\nprint(json.dumps(result))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(argument)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a new folder that every user can enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="mount-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


class Mount:
    """A folder with files behind `..data` links, as a kubelet mounts a Secret."""

    def __init__(self, folder: Path, *, owner: int = 0, group: int = GROUP, mode: int = 0o440) -> None:
        """Make the folder. Files get this owner, group and mode."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self.folder = folder
        self._owner, self._group, self._mode = owner, group, mode
        self._swaps = 0

    def swap(self, **files: str | bytes) -> None:
        """Replace all files at once. Args: their names with `__` for a dot, and their contents."""
        self._swaps += 1
        data = self.folder / f"..2026_11_29_{self._swaps}"
        data.mkdir(mode=0o755)
        names = {name.replace("__", "."): content for name, content in files.items()}
        for name, content in names.items():
            path = data / name
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            path.chmod(self._mode)
            if os.geteuid() == 0:
                os.chown(path, self._owner, self._group)
        link = self.folder / "..data_tmp"
        link.symlink_to(data.name)
        link.replace(self.folder / "..data")
        for name in names:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")

    def path(self, name: str) -> str:
        """Return the path that a setting names."""
        return str(self.folder / name)


def paths(mount: Mount, names: Sequence[str]) -> dict[str, str]:
    """Return the path of each of these files."""
    return {name: mount.path(name) for name in names}
