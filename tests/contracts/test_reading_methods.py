"""Which methods change nothing: their names and the rights in their protos say the same."""

from __future__ import annotations

from gateway.front.dispatch import changes_nothing
from gateway.interceptors.access import method_access

READING = (".read", ".watch", ".export", "health", "reflection")
CREDENTIALS = ("tokens.mint.", "tokens.sign.")
"""A token that did not arrive is of no use to anyone: another one can be made."""


def test_a_method_changes_nothing_if_its_right_only_reads_or_mints() -> None:
    """An answer that is too large says `effect: done` for any other one, so that no change is made twice."""
    wrong = {
        method: access.right
        for method, access in method_access().items()
        if changes_nothing(method) != (access.right.endswith(READING) or access.right.startswith(CREDENTIALS))
    }
    assert wrong == {}
