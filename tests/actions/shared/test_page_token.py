"""Page tokens come back as they went out, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.actions.shared.page_token import PageToken, decode_page_token, encode_page_token
from gateway.errors import InvalidField

LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with other things."""

TOKEN = PageToken(of="pages", tenant_id="t", leaderboard_id="xp", place="w1", offset=100)


def decode(text: str, *, of: str = "pages", tenant: str = "t", board: str = "xp") -> PageToken:
    return decode_page_token(text, of=of, tenant_id=tenant, leaderboard_id=board)


@LOADED
@given(st.text(max_size=50), st.text(max_size=20), st.integers(0, 2**31 - 1), st.text(max_size=20))
def test_a_token_comes_back_as_it_went_out(board: str, place: str, offset: int, after: str) -> None:
    """Any board and window survive, whatever their characters."""
    try:
        f"{board}{place}{after}".encode()
    except UnicodeEncodeError:
        return
    token = PageToken(of="pages", tenant_id="t", leaderboard_id=board, place=place, offset=offset, after=after)
    assert token == decode(encode_page_token(token), board=board)


@LOADED
@given(st.text(max_size=200))
def test_no_other_text_is_taken_for_a_token(text: str) -> None:
    """Garbage is refused by field and never crashes."""
    faults: list[str] = []
    try:
        faults.append(encode_page_token(decode(text)))
    except InvalidField as refused:
        faults.extend(fault.field for fault in refused.faults)
    assert faults in (["page_token"], [text.rstrip("=")])


def test_a_changed_character_is_refused() -> None:
    """A token that was altered or mixed up is no token."""
    text = encode_page_token(TOKEN)
    for place in range(len(text)):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(InvalidField):
            decode(changed)


@pytest.mark.parametrize("other", [{"of": "snapshots"}, {"tenant": "u"}, {"board": "yp"}], ids=str)
def test_a_foreign_token_is_refused(other: dict[str, str]) -> None:
    """A token of another method, tenant or board is not this one's."""
    with pytest.raises(InvalidField) as refused:
        decode(encode_page_token(TOKEN), **other)
    assert ["page_token"] == [fault.field for fault in refused.value.faults]
