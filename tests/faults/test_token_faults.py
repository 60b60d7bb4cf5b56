"""An HSM that is gone, slow or answers garbage, below a whole gateway under load.

The token is SoftHSM's, behind a module that puts the faults between. A call gets a token of exactly its key or
`KEY_UNAVAILABLE` with RetryInfo, nothing else of the gateway waits, and calls succeed again without a restart.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from tests.faults.token_scene import Scene
from tests.gateway_process import reason_of
from tests.sandbox_process import SandboxProcess
from tests.secret_scanner import forms
from tests.softhsm import PIN, SO_PIN

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
WRONG_PIN = "planted-wrong-pin-1234"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One gateway has all faults, one after the other. At the end nothing that it shows or keeps holds a PIN."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("token")
        sandbox = stack.enter_context(SandboxProcess())
        scene = Scene(folder, sandbox)
        stack.enter_context(scene.gateway)
        ended = threading.Event()
        callers = [threading.Thread(target=scene.call_until, args=(ended,)) for _ in range(2)]
        for one in callers:
            one.start()
        try:
            yield scene
        finally:
            ended.set()
            for one in callers:
                one.join()
        files = [path.read_bytes() for path in scene.gateway.data_dir.parent.rglob("*") if path.is_file()]
        for secret in (PIN, SO_PIN, WRONG_PIN):
            assert not any(form in data for form in forms(secret.encode()) for data in (scene.shown(), *files))
        assert not any(one in scene.gateway.log_text for one in ("Traceback", "Exception ignored", "Segmentation"))
        assert [] == scene.wrong


@pytest.fixture
def scene(running: Scene) -> Iterator[Scene]:
    """The gateway, which signs before and after."""
    running.wait_minted()
    yield running
    running.token.end()
    running.token.pin_file.write_text(PIN)


GARBAGE = ["flips 3", "stale", "length 0", "length 63", "length 100", "length 1000000"]
OUTAGES = {
    "gone": "0 tokens of this name",
    "files": "C_Initialize returned 0x5",
    "fails 5": "GeneralError",
    "fails 50": "DeviceRemoved",
    "fails 179": "SessionHandleInvalid",
    "fails 257": "UserNotLoggedIn",
    "slow 6000": "did not answer within 2 s",
    **dict.fromkeys(GARBAGE, "a signature that is not of this key"),
    "login 164": "is locked after wrong tries",
    "login 163": "has expired",
}


@pytest.mark.parametrize("fault", OUTAGES)
def test_an_outage_gives_no_token_and_ends_without_a_restart(scene: Scene, fault: str) -> None:
    """The log and the list of keys name the reference and the cause; /metrics counts what was forged."""
    forged = scene.forged()
    begun = len(scene.gateway.log_text)
    scene.token.begin(fault)
    scene.wait_refused()
    scene.check_others()
    assert OUTAGES[fault] in scene.notes()
    log = scene.gateway.log_text[begun:]
    assert any(OUTAGES[fault] in line and scene.token.reference in line for line in log.splitlines())
    assert (scene.forged() > forged) == (fault in GARBAGE)
    scene.token.end()
    scene.wait_minted()
    scene.wait(lambda: not scene.notes())


@pytest.mark.parametrize("fault", ["restart", "logout"])
def test_a_lost_login_costs_no_call(scene: Scene, fault: str) -> None:
    """An HSM that restarts ends its sessions and the login; some end the login alone, when they were idle."""
    for _ in range(5):
        refused = scene.refused.total()
        scene.token.begin(fault)
        scene.wait(lambda: scene.token.has_begun)
        scene.wait_minted()
        assert refused == scene.refused.total()


def test_a_pin_that_is_wrong_after_a_restart_is_named(scene: Scene) -> None:
    """And so is a file that is missing. A corrected file ends it."""
    scene.token.pin_file.write_text(WRONG_PIN)
    scene.token.begin("restart")
    scene.wait_refused()
    assert "refuses the PIN" in scene.notes()
    scene.token.pin_file.unlink()
    scene.wait(lambda: "pin-source: its file cannot be opened" in scene.notes())
    scene.token.pin_file.touch(mode=0o600)
    scene.token.pin_file.write_text(PIN)
    scene.wait_minted()


def test_a_start_and_an_end_in_an_outage(running: Scene, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A start without the file of the PIN names setting and reference. A call that hangs delays no end."""
    scene = Scene(tmp_path, sandbox)
    scene.token.pin_file.unlink()
    process = scene.gateway.spawn()
    assert 0 != process.wait(60)
    assert f"PREDICTION_LAUNCH_KEY_REF: {scene.token.reference}: pin-source" in scene.gateway.log_text
    scene.token.pin_file.touch(mode=0o600)
    scene.token.pin_file.write_text(PIN)
    scene.gateway.start()
    scene.token.begin("slow 600000")
    with scene.gateway.open_channel() as channel, pytest.raises(grpc.RpcError) as refused:
        scene.mint(channel, "acme", timeout=1)
    assert reason_of(refused.value) in ("KEY_UNAVAILABLE", "DEADLINE_EXCEEDED")
    begun = time.monotonic()
    assert 0 == scene.gateway.stop(signal.SIGTERM)
    assert time.monotonic() - begun < 15
