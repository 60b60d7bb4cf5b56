"""`make dist`: one version everywhere, an SBOM of the lock, and packages that work outside the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.gateway_process import of_sandbox
from tests.sandbox_process import SandboxProcess
from tools import dist, stubs, supply_chain, version

ROOT = Path(__file__).resolve().parents[2]
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
PYTHONS = ("3.11", "3.12", "3.13")
THEIR_TEST = """
from phoenix_gateway_client import v1

def test_a_score_is_sent_once(phoenix_gateway):
    phoenix_gateway.create_board("xp")
    event = v1.Event(leaderboard_id="xp", user_id="ada", score_delta=1)
    sent = phoenix_gateway.client().events.submit_event(v1.SubmitEventRequest(event=event))
    assert phoenix_gateway.counted(sent.event_id) == 1
"""
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not dist.UV.exists(), reason="uv is not in .tools: make setup"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages, as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    dist.build(folder)
    stubs.write_wheel(folder)
    return folder


def test_every_file_has_the_version_of_the_project() -> None:
    """pyproject.toml has it; some files have to repeat it."""
    assert version.differing() == []


def test_a_new_version_reaches_every_file(tmp_path: Path) -> None:
    """And each file that was left out is named."""
    for name in {"pyproject.toml", *(name for name, _ in version.COPIES)}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    version.write("7.8.9rc1", tmp_path)
    assert (version.current(tmp_path), version.differing(tmp_path)) == ("7.8.9rc1", [])
    for name in {name for name, _ in version.COPIES}:
        changed = (tmp_path / name).read_text()
        (tmp_path / name).write_text(changed.replace("7.8.9rc1", "7.8.8", 1))
        assert version.differing(tmp_path)[:1] == [name]
        (tmp_path / name).write_text(changed)
    with pytest.raises(ValueError, match=r"v2 is no version; write MAJOR\.MINOR\.PATCH"):
        version.write("v2", tmp_path)


def test_the_sbom_lists_what_runs_with_the_gateway(tmp_path: Path) -> None:
    """Each package of the lock, with its version, a hash, its licence and what needs it."""
    found: dict[str, Any] = json.loads(dist.write_sbom(tmp_path).read_text())
    lock: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text())
    versions = {one["name"]: one["version"] for one in lock["package"] if "version" in one}
    components = {one["name"]: one for one in found["components"]}
    assert (found["bomFormat"], found["metadata"]["component"]["version"]) == ("CycloneDX", version.current())
    assert set(components) == supply_chain.runtime_packages(lock)
    for name, one in components.items():
        assert one["purl"] == f"pkg:pypi/{name}@{versions[name]}"
        assert all(file["hashes"][0]["alg"] == "SHA-256" for file in one["externalReferences"])
    unlicensed = {name for name, one in components.items() if "licenses" not in one}
    assert unlicensed <= {"async-timeout", "colorama", "tzdata"}  # other systems and Pythons have them
    known = {one["bom-ref"] for one in [found["metadata"]["component"], *found["components"]]}
    assert {one["ref"] for one in found["dependencies"]} == known
    assert {ref for one in found["dependencies"] for ref in one.get("dependsOn", ())} <= known


def test_the_sdist_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    """It has all that the wheel is made of, and neither tests nor anything of the working copy."""
    (packed,) = built.glob("phoenix_gateway-*.tar.gz")
    with tarfile.open(packed) as archive:
        names = {Path(name).parts[1] for name in archive.getnames()}
        archive.extractall(tmp_path, filter="data")
    described = {"CHANGELOG.md", "LICENSE", "README.md", "PKG-INFO", "pyproject.toml", ".gitignore"}
    assert names <= {"gateway", "buf", "protos", *described}
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    dist.build(tmp_path / "again", unpacked)
    (wheel,) = built.glob("phoenix_gateway-*.whl")
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.faults
@pytest.mark.parametrize("package", ["phoenix_gateway-*.whl", "phoenix_gateway-*.tar.gz"], ids=["wheel", "sdist"])
@pytest.mark.parametrize("python", PYTHONS)
def test_the_smoke_test_passes_outside_the_checkout(
    sandbox: SandboxProcess, built: Path, tmp_path: Path, python: str, package: str
) -> None:
    """In an empty environment, from an empty folder, with the newest dependencies."""
    (file,) = built.glob(package)
    environment = new_environment(tmp_path, python, file)
    settings = of_sandbox(sandbox.urls, sandbox.environ)
    command = [environment / "bin" / "phoenix-gateway", "smoke", "--control", sandbox.urls["control"], "--json"]
    report = json.loads(run(command, empty(tmp_path), settings))
    assert report["ok"], report
    printed = run([environment / "bin" / "phoenix-gateway", "--version"], tmp_path)
    assert printed.startswith(f"phoenix-gateway {version.current()} (Python {python}.")


@pytest.mark.faults
def test_the_extra_of_the_client_brings_a_gateway_for_tests(built: Path, tmp_path: Path) -> None:
    """Another team's test passes with nothing but the extra and the folder of `make dist`."""
    wanted = "phoenix-gateway-client[testing]"
    environment = new_environment(tmp_path, PYTHONS[-1], "--find-links", built, wanted)
    folder = empty(tmp_path)
    (folder / "test_theirs.py").write_text(THEIR_TEST)
    assert "1 passed" in run([environment / "bin" / "python", "-m", "pytest", "-q", "."], folder)


def new_environment(folder: Path, python: str, *wanted: object) -> Path:
    """Install into a new environment and return it; skip where the machine lacks this Python."""
    own = ".".join(map(str, sys.version_info[:2]))
    there = next((str(path) for path in PYENV.glob(f"{python}.*/bin/python")), shutil.which(f"python{python}"))
    interpreter = sys.executable if python == own else there
    if interpreter is None:
        pytest.skip(f"Python {python} is not on this machine")
    environment = folder / "venv"
    run([dist.UV, "venv", "--quiet", "--python", interpreter, environment])
    run([dist.UV, "pip", "install", "--quiet", "--python", environment / "bin" / "python", *wanted])
    return environment


def empty(folder: Path) -> Path:
    """Return a new folder."""
    (folder / "work").mkdir()
    return folder / "work"


def run(command: Sequence[object], folder: Path = ROOT, settings: Mapping[str, str] | None = None) -> str:
    """Run to the end and return what it printed. Raises: AssertionError with its messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))}
    done = subprocess.run(
        [str(each) for each in command], cwd=folder, env={**kept, **(settings or {})},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
