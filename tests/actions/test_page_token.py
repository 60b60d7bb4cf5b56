"""Page tokens come back as they went out, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.actions.page_token import PageToken, decode_page_token, encode_page_token
from gateway.errors import InvalidField


@given(st.text(max_size=50), st.text(max_size=20), st.integers(0, 2**31 - 1))
def test_a_token_comes_back_as_it_went_out(board: str, window: str, offset: int) -> None:
    """Any board and window survive, whatever their characters."""
    try:
        board.encode()
        window.encode()
    except UnicodeEncodeError:
        return
    token = PageToken(leaderboard_id=board, window_key=window, offset=offset)
    assert token == decode_page_token(encode_page_token(token))


@given(st.text(max_size=200))
def test_no_other_text_is_taken_for_a_token(text: str) -> None:
    """Garbage is refused by field and never crashes."""
    faults: list[str] = []
    try:
        faults.append(encode_page_token(decode_page_token(text)))
    except InvalidField as refused:
        faults.extend(fault.field for fault in refused.faults)
    assert faults in (["page_token"], [text.rstrip("=")])


def test_a_changed_character_is_refused() -> None:
    """A token that was altered or mixed up is no token."""
    text = encode_page_token(PageToken(leaderboard_id="xp", window_key="w1", offset=100))
    for place in range(len(text)):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(InvalidField):
            decode_page_token(changed)
