"""Packs the Go client as a module of the project's version, in the layout of a Go module proxy.

A folder in this layout is what `GOPROXY=file:///...` reads, and what any web server can offer: `go get` needs no
repository. Source: "GOPROXY protocol" and "Module zip files" in the Go Modules Reference.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIENT = ROOT / "clients" / "go"
MODULE = "phoenix.internal/gateway"
_TIME = "2020-01-01T00:00:00Z"
"""Equal sources give equal bytes."""


def write_module(folder: Path, version: str) -> Path:
    """Write the module's files below `folder` and return the zip. Args: `version`: such as "0.1.0"."""
    if int(version.partition(".")[0]) > 1:
        raise SystemExit(
            f"Go wants the path {MODULE}/v{version.partition('.')[0]} for version {version}: change it first."
        )
    name = f"v{version}"
    target = folder / MODULE / "@v"
    target.mkdir(parents=True)
    (target / "list").write_text(f"{name}\n", encoding="utf-8")
    (target / f"{name}.info").write_text(json.dumps({"Version": name, "Time": _TIME}), encoding="utf-8")
    (target / f"{name}.mod").write_bytes((CLIENT / "go.mod").read_bytes())
    packed = target / f"{name}.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in CLIENT.rglob("*") if path.is_file()):
            _add(archive, f"{MODULE}@{name}/{path.relative_to(CLIENT)}", path.read_bytes())
        _add(archive, f"{MODULE}@{name}/LICENSE", (ROOT / "LICENSE").read_bytes())
    return packed


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)
