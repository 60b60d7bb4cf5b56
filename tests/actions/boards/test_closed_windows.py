"""A window counts as closed only on proof."""

from __future__ import annotations

from gateway.actions.boards.closed_windows import GRACE_S, MAX_BOARDS, MAX_WINDOWS, ClosedWindows

BOARD = ("t", "xp")


def saw(windows: ClosedWindows, key: str, at: float, *, active: bool = True) -> None:
    windows.saw_page(BOARD, window_key=key, is_active=active, asked_at=at, answered_at=at)


def test_a_window_is_closed_once_a_later_one_is_active() -> None:
    """One minute after the change was seen; an answer from before may still change."""
    windows = ClosedWindows()
    saw(windows, "w1", 10)
    saw(windows, "w2", 20)
    assert [False, True] == [windows.is_final(BOARD, "w1", at) for at in (20 + GRACE_S - 1, 20 + GRACE_S)]
    assert not windows.is_final(BOARD, "w2", 1000)


def test_an_active_window_that_is_named_is_not_closed() -> None:
    """Its key proves nothing."""
    windows = ClosedWindows()
    saw(windows, "w1", 10)
    saw(windows, "w2", 20, active=False)
    assert not windows.is_final(BOARD, "w2", 1000)
    assert not windows.is_final(BOARD, "w1", 1000)


def test_an_answer_that_lags_behind_closes_nothing() -> None:
    """The older window shown once more, after the newer one, does not close the newer."""
    windows = ClosedWindows()
    saw(windows, "w1", 10)
    saw(windows, "w2", 20)
    saw(windows, "w1", 30)
    assert not windows.is_final(BOARD, "w2", 1000)
    assert not windows.is_final(BOARD, "w1", 1000)


def test_a_window_with_a_snapshot_is_closed() -> None:
    """Snapshots are of completed windows."""
    windows = ClosedWindows()
    windows.saw_snapshots(BOARD, ["w1", ""], 10)
    assert [True, False] == [windows.is_final(BOARD, key, 1000) for key in ("w1", "")]
    assert not windows.is_final(("t", "other"), "w1", 1000)


def test_an_answer_that_was_asked_for_before_proves_nothing() -> None:
    """A window seen while another's answer was on its way."""
    windows = ClosedWindows()
    saw(windows, "w1", 10, active=False)
    windows.saw_page(BOARD, window_key="w2", is_active=True, asked_at=9, answered_at=11)
    assert not windows.is_final(BOARD, "w1", 1000)


def test_memory_is_bounded() -> None:
    """In windows and in boards."""
    windows = ClosedWindows()
    for number in range(MAX_WINDOWS + 10):
        saw(windows, f"w{number}", number)
    assert not windows.is_final(BOARD, "w0", 1000)
    assert windows.is_final(BOARD, f"w{MAX_WINDOWS}", 1000)
    for number in range(MAX_BOARDS + 1):
        windows.saw_snapshots(("t", str(number)), ["w"], 0)
    assert not windows.is_final(BOARD, f"w{MAX_WINDOWS}", 1000)
