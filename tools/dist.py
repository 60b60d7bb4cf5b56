"""`make dist`: what a release consists of, in build/dist/. It needs no network.

Wheel and sdist of the gateway, the wheel of the Python client (its extra `testing` installs the gateway), and the
packages that run with the gateway as a CycloneDX SBOM, with their hashes from the lock and their licences.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from tools import stubs, supply_chain, version

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "build" / "dist"
UV = ROOT / ".tools" / "bin" / "uv"
_LICENCE = [{"license": {"id": "Apache-2.0"}}]


def main() -> int:
    """Create all files and print their names."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir(parents=True)
    build(DIST)
    stubs.write_wheel(DIST)
    write_sbom(DIST)
    for path in sorted(DIST.iterdir()):
        print(path.relative_to(ROOT))
    return 0


def build(folder: Path, source: Path = ROOT) -> None:
    """Build sdist and wheel of the gateway. Equal sources give equal bytes."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"The gateway's wheel was not built:\n{done.stderr}")


def write_sbom(folder: Path) -> Path:
    """Write the SBOM. uv makes it from the lock; what the lock does not know is added."""
    options = ["--frozen", "--offline", "--no-dev", "--all-extras", "--format", "cyclonedx1.5"]
    done = subprocess.run(
        [str(UV), "export", "--quiet", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"The SBOM was not written:\n{done.stderr}")
    document: dict[str, Any] = json.loads(done.stdout)
    own = document["metadata"]["component"]
    own |= {"type": "application", "purl": f"pkg:pypi/phoenix-gateway@{own['version']}", "licenses": _LICENCE}
    for component in document["components"]:
        names = _licences(component["name"])
        if names:
            component["licenses"] = [{"license": {"id": name}} for name in names]
    path = folder / f"phoenix-gateway-{version.current()}.cdx.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def _licences(name: str) -> list[str]:
    """Return the SPDX names of an installed package's licences. Packages for other systems are not installed."""
    try:
        return sorted(supply_chain.licences_of(distribution(name)))
    except PackageNotFoundError:
        return []


if __name__ == "__main__":
    sys.exit(main())
