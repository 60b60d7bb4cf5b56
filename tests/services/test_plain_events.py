"""The shortcut past the rule engine: it passes nothing that the rules refuse, and knows when it does not know them."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st

from buf.validate import validate_pb2
from gateway.interceptors.validation import validate
from gateway.services.plain_events import PlainEvents
from gateway.v1 import events_pb2

_ACCESS = "gateway/v1/access"

PLAIN = PlainEvents()

TEXT = (
    st.text(max_size=6)
    | st.sampled_from(["", "a", "a\n", "a\x7f", "\x00", "é", "\u00a0", "\u2028", "👩‍🚀"])
    | st.integers(120, 260).map(lambda size: "x" * size)
)
SCORE = st.none() | st.floats() | st.sampled_from([0.0, -1.0, float("inf"), float("nan")])


def is_plain(event: events_pb2.Event) -> bool:
    score = event.score_delta if event.HasField("score_delta") else None
    return PLAIN.is_plain(
        event.event_id, event.leaderboard_id, event.user_id, score, event.event_type, event.metadata_json
    )


@given(TEXT, TEXT, TEXT, TEXT, SCORE, st.none() | st.integers(65_530, 65_540))
def test_nothing_plain_breaks_a_rule(
    event_id: str, board: str, user: str, kind: str, score: float | None, size: int | None
) -> None:
    """Whatever the values: plain means that the rule engine finds nothing."""
    event = events_pb2.Event(event_id=event_id, leaderboard_id=board, user_id=user, event_type=kind, score_delta=score)
    if size is not None:
        event.metadata_json = b" " * size
    assert not is_plain(event) or validate(event) == ()


def test_ordinary_events_are_plain() -> None:
    """Else the shortcut would be none."""
    scored = events_pb2.Event(leaderboard_id="xp", user_id="ada", score_delta=1, metadata_json=b"{}")
    typed = events_pb2.Event(event_id="e", leaderboard_id="xp", user_id="Ünal 7", event_type="match.completed")
    assert (PLAIN.is_known, is_plain(scored), is_plain(typed)) == (True, True, True)


def changed(change: str) -> Descriptor:
    """The Event of a later contract."""
    file = descriptor_pb2.FileDescriptorProto()
    events_pb2.DESCRIPTOR.CopyToProto(file)
    event = next(message for message in file.message_type if message.name == "Event")
    fields = {field.name: field for field in event.field}
    match change:
        case "a new field":
            event.field.add(name="more", number=99, type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING, label=1)
        case "a new rule":
            fields["user_id"].options.Extensions[validate_pb2.field].string.prefix = "u"
        case "another pattern":
            fields["user_id"].options.Extensions[validate_pb2.field].string.pattern = "^[a-z]*$"
        case "a rule of a free field":
            fields["occur_time"].options.Extensions[validate_pb2.field].required = True
        case "a rule of the message":
            event.options.Extensions[validate_pb2.message].cel.add(id="x", expression="false")
    pool = descriptor_pool.DescriptorPool()
    for known in ("google/protobuf/descriptor", "google/protobuf/duration", "google/protobuf/timestamp"):
        _copy(pool, f"{known}.proto")
    for known in (
        "google/protobuf/struct",
        "google/protobuf/any",
        "buf/validate/validate",
        "google/rpc/status",
        _ACCESS,
    ):
        _copy(pool, f"{known}.proto")
    pool.Add(file)
    found: Descriptor = pool.FindMessageTypeByName("phoenix.gateway.v1.Event")
    return found


def _copy(pool: descriptor_pool.DescriptorPool, name: str) -> None:
    file = descriptor_pb2.FileDescriptorProto()
    descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
    pool.Add(file)


@pytest.mark.parametrize(
    "change", ["a new field", "a new rule", "another pattern", "a rule of a free field", "a rule of the message"]
)
def test_a_contract_that_it_does_not_know_switches_it_off(change: str) -> None:
    """Then every event goes to the rule engine."""
    later = PlainEvents(changed(change))
    assert (later.is_known, later.is_plain("", "xp", "u", 1.0, "", b"")) == (False, False)


def test_the_same_contract_in_another_pool_is_known() -> None:
    """The way the changed ones are made is not what switches it off."""
    assert PlainEvents(changed("nothing")).is_known
