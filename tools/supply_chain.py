"""`make supply-chain`: checks the packages that the gateway uses. `make lint` runs it without the advisories.

1. The lock has a hash for every file, and every package comes from a registry.
2. Every package that runs with the gateway has an allowed licence.
3. No package has a known advisory. This check uses pip-audit and needs the network.
If a check cannot run, the output says so and why. It does not count as passed.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COULD_NOT_RUN = 3
ADVISORIES_WITHIN_S = 180

ALLOWED = frozenset(
    {
        "MIT",
        "MIT-0",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "PSF-2.0",
        "MPL-2.0",
        "Unlicense",
        "0BSD",
        "Zlib",
    }
)
"""SPDX names. MPL-2.0 is allowed because the project does not change such code."""
ALLOWED_FOR = {"psycopg": "LGPL-3.0-only", "psycopg-binary": "LGPL-3.0-only"}
"""Packages with a licence that no other may have. The project imports psycopg unchanged, and an operator can replace
it: the licence asks for no more."""
_FREE_TEXT = (
    (re.compile(r"apache|asl", re.I), "Apache-2.0"),
    (re.compile(r"mozilla|mpl", re.I), "MPL-2.0"),
    (re.compile(r"python software foundation|psf", re.I), "PSF-2.0"),
    (re.compile(r"bsd.*(2|simplified)", re.I), "BSD-2-Clause"),
    (re.compile(r"bsd|3-clause", re.I), "BSD-3-Clause"),
    (re.compile(r"\bisc\b", re.I), "ISC"),
    (re.compile(r"\bmit\b|mit license", re.I), "MIT"),
    (re.compile(r"unlicense", re.I), "Unlicense"),
)
"""Texts that authors write in place of an SPDX name. The first match counts."""


def main() -> int:
    """Run the checks. Return 0 if all pass, 1 if one fails, 3 if none fails but one could not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", action="store_true", help="skip the check for advisories")
    offline: bool = parser.parse_args().offline
    lock: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    faults = [*lock_faults(lock), *licence_faults(runtime_packages(lock))]
    for fault in faults:
        print(f"supply chain: {fault}")
    if not faults:
        print(f"supply chain: {len(lock['package'])} locked packages have hashes; all licences are allowed.")
    if offline:
        return 1 if faults else 0
    code, message = advisories()
    print(f"supply chain: {message}")
    return 1 if faults or code == 1 else code


def lock_faults(lock: dict[str, Any]) -> Iterator[str]:
    """Yield the packages in the lock that have no hash or no registry."""
    for package in lock["package"]:
        name, source = package["name"], package.get("source", {})
        if "editable" in source or "virtual" in source:
            continue  # the gateway itself
        if "registry" not in source:
            yield f"{name} comes from {', '.join(source)}, not from a registry"
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        if not files or any(not str(file.get("hash", "")).startswith("sha256:") for file in files):
            yield f"{name} has a file without a SHA-256 in uv.lock"


def runtime_packages(lock: dict[str, Any]) -> set[str]:
    """Return the names of all packages that run with the gateway, directly or indirectly."""
    by_name = {package["name"]: package for package in lock["package"]}
    waiting = ["phoenix-gateway"]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found or name not in by_name:
            continue
        found.add(name)
        package = by_name[name]
        extras = package.get("optional-dependencies", {}).values()
        waiting += [one["name"] for listed in (package.get("dependencies", ()), *extras) for one in listed]
    return found - {"phoenix-gateway"}


def licence_faults(names: set[str]) -> Iterator[str]:
    """Yield the installed packages whose licence is unknown or not allowed."""
    for name in sorted(names):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        licences = licences_of(found)
        if not licences:
            yield f"{name}: its licence cannot be read from its metadata; look it up and extend this check"
        elif refused := licences - ALLOWED - {ALLOWED_FOR.get(name)}:
            yield f"{name}: {' and '.join(sorted(refused))} is not an allowed licence"


def licences_of(package: Distribution) -> set[str]:
    """Return the SPDX names of a package's licences; of `A OR B`, the allowed one."""
    expression = package.metadata["License-Expression"]
    if expression:
        options = [_names(option) for option in expression.split(" OR ")]
        return next((option for option in options if option <= ALLOWED), options[0])
    classifiers = [line for line in package.metadata.get_all("Classifier") or () if line.startswith("License ::")]
    texts = classifiers or [(package.metadata["License"] or "").strip()[:200]]
    return {named for text in texts if (named := _spdx(text)) is not None}


def _names(option: str) -> set[str]:
    return {part.strip("() ") for part in option.split(" AND ")}


def _spdx(text: str) -> str | None:
    if text in ALLOWED:
        return text
    return next((name for pattern, name in _FREE_TEXT if pattern.search(text)), None)


def advisories() -> tuple[int, str]:
    """Look up known advisories. Return the exit code and one line for people."""
    uv = shutil.which("uv", path=f"{ROOT / '.tools' / 'bin'}:{ROOT / '.venv' / 'bin'}") or shutil.which("uv")
    if uv is None:
        return COULD_NOT_RUN, "advisories NOT CHECKED: uv is not installed; `make setup` installs it."
    exported = subprocess.run(
        [uv, "export", "--frozen", "--no-dev", "--no-emit-project", "--quiet"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if exported.returncode != 0:
        return COULD_NOT_RUN, "advisories NOT CHECKED: uv cannot read the lock."
    listed = ROOT / "build" / "requirements.txt"
    listed.parent.mkdir(exist_ok=True)
    listed.write_text(exported.stdout, encoding="utf-8")
    command = [uv, "tool", "run", "pip-audit", "--requirement", str(listed), "--disable-pip", "--require-hashes"]
    try:
        done = subprocess.run(
            [*command, "--format", "json", "--progress-spinner", "off"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=ADVISORIES_WITHIN_S,
        )  # fmt: skip
        found = json.loads(done.stdout)["dependencies"]
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        return COULD_NOT_RUN, (
            "advisories NOT CHECKED: pip-audit cannot be installed or cannot reach its source. It needs the network."
        )
    skipped = [one["name"] for one in found if "skip_reason" in one]
    hit = [
        f"{one['name']} {one.get('version')}: {', '.join(v['id'] for v in one['vulns'])}"
        for one in found
        if one.get("vulns")
    ]
    if hit:
        return 1, "known advisories: " + "; ".join(hit)
    if len(skipped) == len(found):
        return COULD_NOT_RUN, "advisories NOT CHECKED: the source of advisories knows none of the packages."
    if skipped:
        return COULD_NOT_RUN, f"advisories NOT CHECKED for {', '.join(skipped)}; none known for the others."
    return 0, f"no advisory is known for {len(found)} packages."


if __name__ == "__main__":
    sys.exit(main())
