"""One spelling for each value: another one was not written by an export."""

from __future__ import annotations

import pytest

from gateway.evidence_verify.export_format import RECORD, first_invalid_member, to_microseconds


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-21T11:32:27.108871Z", 1795260747108871),
        ("2026-11-21T11:32:27.108Z", 1795260747108000),
        ("1969-12-31T23:59:59.999999Z", -1),
    ],
)
def test_times_are_read_to_the_microsecond(text: str, at: int) -> None:
    """As protobuf writes them: no digits behind the second, three or six."""
    assert at == to_microseconds(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21X11:32:27Z",
        "2026-11-21 11:32:27Z",
        "2026-W47-6T11:32:27Z",
        "2026-11-21T11:32:27,108Z",
        "2026-11-21T11:32:27.000Z",
        "2026-11-21T11:32:27.108000Z",
        "2026-11-21T11:32:27.1Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T12:32:27+01:00",
        "2026-11-21T11:32:27z",
        "",
    ],
)
def test_other_spellings_of_times_are_refused(text: str) -> None:
    """Though they would be the same times to others."""
    with pytest.raises(ValueError):
        to_microseconds(text)


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"operation_id": "x", "attempt": 1}, None),
        ({"attempt": 1, "operation_id": "x"}, "operation_id"),
        ({"operation_id": ""}, "operation_id"),
        ({"attempt": 0}, "attempt"),
        ({"attempt": True}, "attempt"),
        ({"attempt": 1.0}, "attempt"),
        ({"suspect_replay": False}, "suspect_replay"),
        ({"replay_count": "01"}, "replay_count"),
        ({"request_body": "QR=="}, "request_body"),
        ({"available_balance": {"currency_code": "EUR", "amount": "1"}}, "available_balance"),
        ({"incidents": []}, "incidents"),
        ({"more": 1}, "more"),
    ],
)
def test_members_have_one_form(members: dict[str, object], fault: str | None) -> None:
    """Known, in their order, never empty, of one type and spelling."""
    assert fault == first_invalid_member(members, RECORD)
