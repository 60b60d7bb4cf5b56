"""What is kept of a failure once its exception is gone."""

from __future__ import annotations

from gateway.actions.shared.failure import failure_of
from gateway.errors import StoreUnavailable


def test_the_class_of_the_first_cause_is_kept() -> None:
    """A batch whose items the store failed has a line at error level, which names it: the call itself succeeded."""
    fault = StoreUnavailable()
    fault.__cause__ = RuntimeError()
    fault.__cause__.__cause__ = OSError()
    found = failure_of(fault)
    assert ("error", "OSError") == (found.level, found.error_type)
    assert "StoreUnavailable" == failure_of(StoreUnavailable()).error_type
