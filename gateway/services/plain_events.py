"""Checks cheaply that most events keep the contract, so that the rule engine checks only the others.

The rules stand in the proto, and only there. What is done here is a shortcut past rules of exactly the form and bounds
that are read from the proto at the start: where a rule has another form, or a field or rule has come that is not known
here, nothing is plain and every event goes to the rule engine. A shortcut may miss a good event, never pass a bad one;
tests/services/test_plain_events.py holds it to that. The rule engine takes 5 µs an event, this half of one.
"""

from __future__ import annotations

from math import isfinite

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from buf.validate import validate_pb2
from gateway.v1 import events_pb2

_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
_TEXTS = ("event_id", "leaderboard_id", "user_id", "event_type")
_SCORE_OR_TYPE = "has(this.score_delta) || this.event_type != ''"


class PlainEvents:
    """The shortcut for one version of the contract."""

    __slots__ = ("_board", "_bytes", "_id", "_type", "_user", "is_known")

    def __init__(self, descriptor: Descriptor = events_pb2.Event.DESCRIPTOR) -> None:
        """Read the bounds from the message's rules."""
        rules = {field.name: _rules_of(field) for field in descriptor.fields}
        self._id, self._board, self._user, self._type = ((rules.get(n) or _none()).string.max_len for n in _TEXTS)
        self._bytes = (rules.get("metadata_json") or _none()).bytes.max_len
        self.is_known = rules == self._expected() and _messages_rules(descriptor) == _expected_message_rules()
        """Whether the proto's rules have the form that the shortcut implements."""

    def is_plain(
        self, event_id: str, board: str, user: str, score: float | None, event_type: str, metadata_json: bytes
    ) -> bool:
        """Whether an event of these values (`metadata_json` empty where there is none) certainly breaks no rule."""
        return (
            self.is_known
            and len(event_id) <= self._id
            and 1 <= len(board) <= self._board
            and 1 <= len(user) <= self._user
            and len(event_type) <= self._type
            and len(metadata_json) <= self._bytes
            # Printable is narrower than the rule, which allows unusual spaces; those go the long way.
            and (event_id + board + user + event_type).isprintable()
            and (event_type != "" if score is None else isfinite(score))
        )

    def _expected(self) -> dict[str, validate_pb2.FieldRules]:
        texts = {
            name: validate_pb2.FieldRules(string=validate_pb2.StringRules(max_len=bound, pattern=_NO_CONTROLS))
            for name, bound in zip(_TEXTS, (self._id, self._board, self._user, self._type), strict=True)
        }
        for required in ("leaderboard_id", "user_id"):
            texts[required].string.min_len = 1
        return {
            **texts,
            "score_delta": validate_pb2.FieldRules(double=validate_pb2.DoubleRules(finite=True)),
            "metadata_json": validate_pb2.FieldRules(bytes=validate_pb2.BytesRules(max_len=self._bytes)),
            "metadata": _left_out(),
            "attributes": _left_out(),
            # An event with it goes to the rule engine.
            "attributes_json": validate_pb2.FieldRules(bytes=validate_pb2.BytesRules(max_len=self._bytes)),
            "occur_time": _none(),
        }


def _none() -> validate_pb2.FieldRules:
    return validate_pb2.FieldRules()


def _left_out() -> validate_pb2.FieldRules:
    return validate_pb2.FieldRules(ignore=validate_pb2.IGNORE_ALWAYS)


def _rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    rules: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]
    return rules


def _messages_rules(descriptor: Descriptor) -> list[str]:
    """The message's own rules and those of its oneofs, as text without what is only shown to people."""
    rules = descriptor.GetOptions().Extensions[validate_pb2.message]
    rules_text = [f"cel: {rule.expression}" for rule in rules.cel]
    rest = validate_pb2.MessageRules()
    rest.CopyFrom(rules)
    rest.ClearField("cel")
    rules_text += [f"other: {rest}"] if rest.ByteSize() else []
    for group in descriptor.oneofs:
        options = group.GetOptions().Extensions[validate_pb2.oneof]
        rules_text += [f"{group.name}: {options}"] if options.ByteSize() else []
    return rules_text


def _expected_message_rules() -> list[str]:
    return [f"cel: {_SCORE_OR_TYPE}"]
