"""The client's wheel in an empty environment: with the oldest packages that it names, and with the newest."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess
from tests.sandbox_process import SandboxProcess
from tools import stubs

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".tools" / "bin" / "uv"
UNREACHABLE = "Failed to fetch"
"""What uv says where the registry gives no answer; of a package that is not there it says something else."""
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(not UV.exists(), reason="uv is not in .tools: make setup")]

CALL = """
import sys
from phoenix_gateway_client import Gateway, InvalidField, error_of, v1

with Gateway(sys.argv[1]) as gateway:
    event = v1.Event(leaderboard_id="wheel", user_id="ada", score_delta=1.5)
    event.attributes.update({"level": 3})
    sent = gateway.events.submit_event(v1.SubmitEventRequest(event=event))
    assert len(sent.event_id) == 36
    try:
        gateway.events.submit_event(v1.SubmitEventRequest())
    except InvalidField as error:
        print([path for path, _ in error.fields])
    batch = v1.SubmitEventsRequest(events=[event, v1.Event()])
    print([type(error_of(one.error)).__name__ for one in gateway.events.submit_events(batch).results])
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"gateway", "buf", "google", "grpc", "phoenix_gateway_client"}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as `make stubs` builds it."""
    return stubs.write_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize(
    ("python", "choice"),
    [
        ("3.9", ["--resolution", "lowest-direct"]),
        ("3.13", ["protobuf<5"]),
        ("3.11", ["protobuf<6"]),
        ("3.12", ["protobuf<7"]),
        ("", []),
    ],
    ids=["lowest", "protobuf 4", "protobuf 5", "protobuf 6", "newest"],
)
def test_an_empty_environment(
    gateway: GatewayProcess, sandbox: SandboxProcess, wheel: Path, tmp_path: Path, python: str, choice: list[str]
) -> None:
    """It calls a gateway, and brings nothing else to the top level of the imports."""
    sandbox.control("POST", "/boards/tenant-test-001/wheel", {})
    interpreter = next(PYENV.glob(f"{python}.*/bin/python"), None) if python else None
    environment = tmp_path / "venv"
    run(UV, "venv", "--quiet", "--python", interpreter or sys.executable, environment)
    install(environment, wheel, *choice)
    printed = run(environment / "bin" / "python", "-c", CALL, gateway.address).splitlines()
    assert printed == [
        "['event']",
        "['NoneType', 'InvalidField']",
        "['google', 'grpc', 'phoenix_gateway_client']",
    ]


def test_it_is_the_same_each_time(wheel: Path, tmp_path: Path) -> None:
    """Equal sources give equal bytes."""
    assert stubs.write_wheel(tmp_path).read_bytes() == wheel.read_bytes()


def test_it_has_the_version_of_the_project(wheel: Path) -> None:
    """And three dependencies, types, and the published service config."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("METADATA"))
        config = archive.read("phoenix_gateway_client/service_config.json")
    assert f"\nVersion: {stubs.project_version()}\n" in metadata
    needed = [line.split()[1].partition(">")[0] for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert [name for name in needed if "extra" not in name][:3] == ["googleapis-common-protos", "grpcio", "protobuf"]
    assert "phoenix_gateway_client/py.typed" in names
    assert config == (ROOT / "clients" / "service_config.json").read_bytes()


@pytest.mark.faults
def test_every_web_framework(wheel: Path, tmp_path: Path) -> None:
    """The client's own tests of webhooks, with Flask, Django and FastAPI installed."""
    environment = tmp_path / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, "--system-site-packages", environment)
    frameworks = ["flask", "django", "fastapi", "uvicorn"]
    install(environment, *frameworks)
    site = next((environment / "lib").glob("python*/site-packages"))
    os_path = f"{site}:{ROOT}"
    tests = ROOT / "clients" / "python" / "client_tests" / "test_wallet.py"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--timeout=180",
        str(tests),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": os_path}, capture_output=True, text=True, timeout=250,
        check=False,
    )  # fmt: skip
    assert (done.returncode, "skipped" in done.stdout) == (0, False), done.stdout[-8000:]


def install(environment: Path, *packages: object) -> None:
    """Install into the environment; once more, and then not at all, where the registry gives no answer."""
    command = (UV, "pip", "install", "--quiet", "--python", environment / "bin" / "python", *packages)
    done = attempt(*command)
    if done.returncode and UNREACHABLE in done.stderr:
        done = attempt(*command)
    if done.returncode and UNREACHABLE in done.stderr:
        pytest.skip("the registry cannot be reached")
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def run(*command: object) -> str:
    """Run to the end and return what it printed. Raises: AssertionError with its messages."""
    done = attempt(*command)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def attempt(*command: object) -> subprocess.CompletedProcess[str]:
    """Run to the end, however it ends."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))}
    return subprocess.run(
        [str(each) for each in command], env=kept, capture_output=True, text=True, timeout=240, check=False
    )
