"""The generated checks find what protovalidate finds: the same fields, in the same order, with the same words."""

from __future__ import annotations

import importlib
import pkgutil
import random
from typing import Any

import protovalidate
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import gateway.v1
from buf.validate import validate_pb2
from gateway.interceptors.validation import RulesMissing, find_checks, validate
from gateway.v1 import access_pb2, events_pb2
from gateway.v1.validation import CHECKS
from tools.validation_code import PACKAGE, validation_module
from tools.validation_values import PATTERNS_IN_WORDS

ORACLE = protovalidate.Validator()
_PATTERN = "does not match regex pattern "

TEXTS = [
    *(
        "",
        "a",
        "a\n",
        "\n",
        "a\x7f",
        "\x00",
        "\x1f",
        "é",
        "\u00a0",
        "\u2028",
        "👩‍🚀",
        "a/b",
        "a\\b",
        "é" * 2,
        "!~",
        "! ",
    ),
    *("current", "2025-11-18T12", "EUR", "eur", "GET", "flat", "12.50", "-1", "1.", "1.0\n", "0" * 64, "0" * 63 + "g"),
]
NUMBERS = [-(2**31), -1, 0, 1, 2, 99, 100, 101, 599, 600, 1000, 1001, 2**31 - 1]
FLOATS = [0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan")]
BOUNDS = ("min_len", "max_len", "min_items", "max_items", "max_pairs")
ROUNDS = 150


def messages() -> dict[str, Descriptor]:
    """All messages of our protos, by name."""
    found: dict[str, Descriptor] = {}
    for module in pkgutil.iter_modules(gateway.v1.__path__):
        if module.name.endswith("_pb2"):
            loaded: Any = importlib.import_module(f"gateway.v1.{module.name}")
            found |= loaded.DESCRIPTOR.message_types_by_name
    return found


MESSAGES = messages()


def near_bounds(rules: Any) -> list[int]:
    """Sizes at which a rule of this field changes its mind."""
    bounds = {
        getattr(rules, name) for name in BOUNDS if name in rules.DESCRIPTOR.fields_by_name and rules.HasField(name)
    }
    return sorted({max(0, bound + step) for bound in bounds for step in (-1, 0, 1)})


def rules_of(field: FieldDescriptor) -> Any:
    rules: Any = field.GetOptions().Extensions[validate_pb2.field]
    kind = rules.WhichOneof("type")
    return rules if kind is None else getattr(rules, kind)


def scalar(chance: random.Random, field: FieldDescriptor, rules: Any) -> Any:
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            sized = [letter * size for size in near_bounds(rules) for letter in ("a", "é")]
            return chance.choice(TEXTS + 3 * sized)
        case FieldDescriptor.TYPE_BYTES:
            return b" " * chance.choice([0, 2, *near_bounds(rules)])
        case FieldDescriptor.TYPE_ENUM:
            return chance.randint(-1, 8)
        case FieldDescriptor.TYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return chance.choice(FLOATS)
        case FieldDescriptor.TYPE_UINT32 | FieldDescriptor.TYPE_UINT64:
            return abs(chance.choice(NUMBERS))
        case _:
            return chance.choice(NUMBERS)


def fill(chance: random.Random, message: Message, depth: int = 0) -> None:
    """Set some of the fields to values of which many are near what the rules say."""
    fields: Any = message.DESCRIPTOR.fields
    for field in fields:
        if chance.random() < 0.4:
            continue
        rules = rules_of(field)
        target: Any = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
            rules = field.GetOptions().Extensions[validate_pb2.field].map
            for _ in range(chance.choice([1, 2])):
                target[scalar(chance, key, rules.keys.string)] = scalar(chance, value, rules.values.string)
            for number in range(chance.choice([0, 0, *near_bounds(rules)])):
                target[str(number)] = ""
        elif field.is_repeated:
            for number in range(chance.choice([0, 1, 2, *near_bounds(rules)])):
                if field.message_type is None:
                    target.append(scalar(chance, field, rules_of_item(field)) if number < 3 else "x")
                else:
                    item = target.add()
                    if number < 2 and depth < 3:
                        fill(chance, item, depth + 1)
        elif field.message_type is not None:
            target.SetInParent()
            if field.message_type.full_name in ("google.protobuf.Duration", "google.protobuf.Timestamp"):
                target.seconds = chance.choice([-1, 0, 1, 3599, 3600, 3601, 86400, 86401])
                target.nanos = chance.choice([-1, 0, 1, 999_999_999])
            elif field.message_type.file.package == PACKAGE and depth < 3:
                fill(chance, target, depth + 1)
        else:
            setattr(message, field.name, scalar(chance, field, rules))


def rules_of_item(field: FieldDescriptor) -> Any:
    rules: Any = field.GetOptions().Extensions[validate_pb2.field].repeated.items
    kind = rules.WhichOneof("type")
    return rules if kind is None else getattr(rules, kind)


def path_of(violation: Any) -> str:
    parts = []
    for element in violation.field.elements if violation.field is not None else ():
        index = "" if element.subscript is None else f"[{element.subscript.value}]"
        parts.append(f"{element.field_name}{index}")
    return ".".join(parts)


def words_of(violation: Any) -> str:
    text = str(violation.message or violation.rule_id)
    return PATTERNS_IN_WORDS.get(text.removeprefix(_PATTERN).strip("`"), text) if text.startswith(_PATTERN) else text


def expected(message: Message) -> list[tuple[str, str]]:
    return [(path_of(one.proto), words_of(one.proto)) for one in ORACLE.collect_violations(message)]


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_check_finds_what_protovalidate_finds(name: str) -> None:
    """For any message: the same faulty fields, by their paths, in the same words."""
    chance = random.Random(name)
    for _ in range(ROUNDS):
        message = GetMessageClass(MESSAGES[name])()
        fill(chance, message)
        assert [(fault.field, fault.description) for fault in validate(message)] == expected(message), message


def test_every_message_has_a_check() -> None:
    """A message that was forgotten would not be checked."""
    assert set(CHECKS) == {message.full_name for message in MESSAGES.values()}


def test_a_message_of_ours_without_a_check_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generated code is older than the protos."""
    monkeypatch.delitem(CHECKS, access_pb2.Access.DESCRIPTOR.full_name)
    with pytest.raises(RulesMissing, match="make protos"):
        find_checks([access_pb2.Access.DESCRIPTOR])


def test_a_rule_that_the_generator_does_not_know_stops_it() -> None:
    """It would be left out otherwise."""
    files = descriptor_pb2.FileDescriptorSet()
    events_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    event = next(message for message in files.file[0].message_type if message.name == "Event")
    user_id = next(field for field in event.field if field.name == "user_id")
    user_id.options.Extensions[validate_pb2.field].string.prefix = "u"
    with pytest.raises(SystemExit, match=r"Event\.user_id: this rule is not known here"):
        validation_module(files)


@pytest.mark.parametrize("pattern", [r"^\d+$", "^a|b$", "^.*$", "^[[:alpha:]]*$", "a", r"^\w$"])
def test_a_pattern_that_python_may_read_in_another_way_stops_it(pattern: str) -> None:
    """Python's expressions are not RE2's."""
    files = descriptor_pb2.FileDescriptorSet()
    events_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    event = next(message for message in files.file[0].message_type if message.name == "Event")
    user_id = next(field for field in event.field if field.name == "user_id")
    user_id.options.Extensions[validate_pb2.field].string.pattern = pattern
    with pytest.raises(SystemExit, match="simplify it"):
        validation_module(files)
