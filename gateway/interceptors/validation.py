"""Checks every request message against the rules in the protos (protovalidate), before any work.

The start fails without the rule engine, or if a rule does not compile, so no message is ever accepted unchecked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import protovalidate
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.actions.shared.call import Call
from gateway.errors import FieldFault, InvalidField
from gateway.interceptors.chain import RequestCheck

_validator = protovalidate.Validator()

_PATTERNS_IN_WORDS = {
    r"^[^\x00-\x1f\x7f]*$": "must hold no control characters (NUL, newline, tab, ...)",
    r"^[^\x00-\x1f\x7f/\\]*$": "must hold no slash, backslash or control character: ids are single steps of a path",
    r"^[A-Za-z0-9_-]*$": "must hold only letters, digits, hyphen and underscore",
    r"^[A-Za-z0-9:._+-]*$": "must be 'current' or a window key such as 2025-11-18T12",
    r"^[A-Z0-9]{2,16}$": "must be 2 to 16 capital letters or digits, such as EUR",
    r"^[0-9a-f]{64}$": "must be 64 lower-case hexadecimal digits",
    r"^(-?[0-9]+(\.[0-9]+)?)?$": "must be a decimal number such as 12.50",
}
_PATTERN_PREFIX = "does not match regex pattern "


def validate(message: Message) -> tuple[FieldFault, ...]:
    """Return every field of `message` that breaks a rule, with its path such as `events[3].user_id`."""
    violations = _validator.collect_violations(message)
    if not violations:
        return ()
    return tuple(
        FieldFault(field=_path(violation.proto.field), description=_in_words(violation.proto))
        for violation in violations
    )


def compile_rules(messages: Iterable[Descriptor]) -> None:
    """Compile the rules of every request message now, so that a broken rule stops the start.

    Raises: protovalidate.CompilationError.
    """
    for descriptor in messages:
        _validator.collect_violations(GetMessageClass(descriptor)())


class Validation(RequestCheck):
    """Refuses a request message that breaks a rule, and names all faulty fields."""

    def on_request(self, call: Call, request: Message) -> None:
        """Raises: InvalidField."""
        faults = validate(request)
        if faults:
            raise InvalidField(faults)


def _in_words(violation: Any) -> str:
    text = str(violation.message or violation.rule_id)
    if text.startswith(_PATTERN_PREFIX):
        return _PATTERNS_IN_WORDS.get(text.removeprefix(_PATTERN_PREFIX).strip("`"), text)
    return text


def _path(field: Any) -> str:
    parts: list[str] = []
    for element in field.elements if field is not None else ():
        subscript = element.subscript
        index = "" if subscript is None else f"[{subscript.value}]"
        parts.append(f"{element.field_name}{index}")
    return ".".join(parts)
