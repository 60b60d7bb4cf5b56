"""A database driver that raises anything at all does not end the watch over the kill switches."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.controls.kill_switches import KillSwitches
from gateway.controls.switch_file import SwitchFile
from gateway.core.switches import Switches, SwitchesUnreadable, Target, TargetKind
from gateway.resilience.clock import SystemClock


class Failing:
    """A place that raises."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error

    async def merge(self, own: Switches) -> Switches:
        if self.error is not None:
            raise self.error
        return own


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), AttributeError("x"), OSError(24, "x")], ids=lambda e: type(e).__name__
)
async def test_the_watch_goes_on(tmp_path: Path, error: Exception) -> None:
    """It says so once, and once more when the database works again."""
    stored = Failing(error)
    watch = KillSwitches(SwitchFile(tmp_path, SystemClock()), None, lambda switches, fresh: None, stored=stored)
    with capture_logs() as lines:
        for _ in range(50):
            await watch.check()
        stored.error = None
        for _ in range(50):
            await watch.check()
    assert [line["event"] for line in lines] == ["not available", "available again"]


def test_a_list_that_a_mount_opened_to_a_group_stays_in_force(tmp_path: Path) -> None:
    """Kubernetes does it to the files of a volume. What was stopped is still stopped after it; said once."""
    file = SwitchFile(tmp_path, SystemClock())
    target = Target(kind=TargetKind.CALLER, name="game")
    file.merge(Switches().decided(target, is_off=True, reason="drill", by="ops", now_ms=1))
    file.path.chmod(0o660)
    with capture_logs() as lines:
        assert [file.read().by_target[target].is_off for _ in range(2)] == [True, True]
    assert file.path.stat().st_mode & 0o777 == 0o640
    assert len(lines) == 1
    file.path.chmod(0o646)
    with pytest.raises(SwitchesUnreadable):
        file.read()
