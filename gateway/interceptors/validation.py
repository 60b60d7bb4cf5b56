"""Checks every request message against the rules in the protos, before any work.

`make protos` writes the checks of gateway/v1/validation.py from the rules. A message of ours without a check stops the
start, so no message is ever accepted unchecked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.actions.shared.call import Call
from gateway.errors import FieldFault, InvalidField
from gateway.interceptors.chain import RequestCheck
from gateway.v1 import common_pb2
from gateway.v1.validation import CHECKS

_Check = Callable[[Any], Sequence[tuple[str, str]]]
_known: dict[type[Message], _Check] = {}


class RulesMissing(Exception):
    """A message of our protos has no check: the generated code is older than the protos. Run `make protos`."""


def validate(message: Message) -> tuple[FieldFault, ...]:
    """Return every field of `message` that breaks a rule, with its path such as `events[3].user_id`."""
    kind = type(message)
    found = (_known.get(kind) or _check_of(kind))(message)
    return tuple([FieldFault(field=field, description=text) for field, text in found]) if found else ()


def find_checks(messages: Iterable[Descriptor]) -> None:
    """Find the check of every request message now. Raises: RulesMissing."""
    for descriptor in messages:
        _check_of(GetMessageClass(descriptor))


class Validation(RequestCheck):
    """Refuses a request message that breaks a rule, and names all faulty fields."""

    def on_request(self, call: Call, request: Message) -> None:
        """Raises: InvalidField."""
        faults = validate(request)
        if faults:
            raise InvalidField(faults)


def _check_of(kind: type[Message]) -> _Check:
    """Return the check of a message. Those of other packages, such as the health service's, have no rules."""
    descriptor: Descriptor = kind.DESCRIPTOR  # type: ignore[assignment]
    check: _Check | None = CHECKS.get(descriptor.full_name)
    if check is None:
        if descriptor.file.package == common_pb2.DESCRIPTOR.package:
            raise RulesMissing(f"{descriptor.full_name} has no check in gateway/v1/validation.py; run `make protos`")
        check = _no_rules
    _known[kind] = check
    return check


def _no_rules(message: Message) -> Sequence[tuple[str, str]]:
    return ()
