"""The digest of an event's content, and the stored form of an id's state."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.event_ids import EventState, NotPacked, RememberedEvent, combined, content_digest, pack, unpack
from gateway.core.wire import Event

JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.integers(-(10**20), 10**20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def digest_of(metadata: bytes | None = None, **fields: Any) -> bytes:
    members: dict[str, Any] = {"event_id": "e", "leaderboard_id": "xp", "user_id": "ada", "score_delta": 5.0}
    return content_digest(Event(**{**members, **fields}, metadata_json=metadata))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"b":2}', b'{ "b" : 2, "a" : 1 }'),
        (b'{"a":5}', b'{"a":5.0}'),
        (b'{"a":5}', b'{"a":50e-1}'),
        (b'{"a":0}', b'{"a":-0.0}'),
        (b'{"a":0}', b'{"a":-0}'),
        (b'{"a":0.5}', b'{"a":5e-1}'),
        (b'{"a":100000000000000000000}', b'{"a":1e20}'),
        (b'{"a":"\xc3\xa9"}', b'{"a":"\\u00e9"}'),
    ],
)
def test_the_same_content_has_one_digest(one: bytes, other: bytes) -> None:
    """However it is spelled."""
    assert digest_of(one) == digest_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1}', b'{"a":"1"}'),
        (b'{"a":1}', b'{"a":true}'),
        (b'{"a":[1,2]}', b'{"a":[2,1]}'),
        (b'{"a":9007199254740993}', b'{"a":9007199254740992}'),
        (b'{"a":1.0000000000000001}', b'{"a":1}'),
        (b'{"a":1e400}', b'{"a":1e401}'),
        (b'{"a":5}', b'{"a":-5}'),
        (b'{"a":1.5}', b'{"a":-1.5}'),
        (b"{}", None),
    ],
)
def test_other_content_has_another_digest(one: bytes, other: bytes | None) -> None:
    """No value is taken for another one."""
    assert digest_of(one) != digest_of(other)


@pytest.mark.parametrize(
    "change",
    [
        {"leaderboard_id": "wins"},
        {"user_id": "bob"},
        {"score_delta": 6.0},
        {"score_delta": None},
        {"event_type": "match.completed"},
        {"occur_time": "2026-01-01T00:00:00Z"},
        {"attributes_json": b"{}"},
    ],
)
def test_every_field_counts(change: dict[str, Any]) -> None:
    """Each makes another event."""
    assert digest_of() != digest_of(**change)


def test_the_id_itself_does_not_count() -> None:
    """The content is compared with it."""
    assert digest_of() == digest_of(event_id="another")


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_spelling_never_matters(members: dict[str, Any]) -> None:
    """Compact and sorted, or wide and reversed."""
    wide = json.dumps(dict(reversed(members.items())), indent=2).encode()
    compact = json.dumps(members, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    assert digest_of(wide) == digest_of(compact)


@given(st.sampled_from(EventState), st.floats(0, 1e10), st.binary(min_size=32, max_size=32))
def test_what_is_packed_comes_back(state: EventState, at: float, digest: bytes) -> None:
    """All three members."""
    remembered = RememberedEvent(state=state, at=at, digest=digest)
    assert remembered == unpack(pack(remembered))


@pytest.mark.parametrize("junk", [b"", b"x", b"\x09" + b"\x00" * 40, b"\x01" * 42])
def test_junk_is_not_unpacked(junk: bytes) -> None:
    """A state that does not exist, or another length."""
    with pytest.raises(NotPacked):
        unpack(junk)


@given(st.sampled_from(EventState), st.sampled_from(EventState), st.floats(0, 9), st.floats(0, 9), st.booleans())
def test_two_records_combine_to_the_stronger_state_and_the_first_send(
    one: EventState, other: EventState, at: float, later: float, is_same: bool
) -> None:
    """Of the same content; in either order. Records of different content do not mix."""
    first = RememberedEvent(state=one, at=at, digest=b"1" * 32)
    second = RememberedEvent(state=other, at=later, digest=b"1" * 32 if is_same else b"2" * 32)
    order = [EventState.BEGUN, EventState.UNKNOWN, EventState.ACCEPTED]
    for held, new in ((first, second), (second, first)):
        result = combined(held, new)
        assert result.state is max(one, other, key=order.index)
        if is_same:
            assert result.at == min(at, later)
        else:
            assert result is (new if order.index(new.state) > order.index(held.state) else held)
