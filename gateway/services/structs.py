"""google.protobuf.Struct to JSON bytes and back, without the detour through json_format (four times slower)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from gateway.errors import FieldFault, InvalidField

MAX_DEPTH = 32
_EXACT_INT = 2**53


def struct_to_json(struct: Struct, field: str) -> bytes:
    """Return the Struct as a compact JSON object; an integral number becomes a JSON integer.

    Raises: InvalidField naming `field` for a NaN, an infinity, an unset value or more than 32 levels.
    """
    return orjson.dumps(struct_to_dict(struct, field))


def struct_to_dict(struct: Struct, field: str) -> dict[str, Any]:
    """Return the Struct as plain Python. Raises: as `struct_to_json`."""
    fields = struct.fields  # whose items() is a generator in Python; a look-up each is faster
    return {name: _plain(fields[name], field, name, 1) for name in fields}


def dict_to_struct(members: Mapping[str, Any]) -> Struct:
    """Return the Struct of plain JSON data. Integers beyond 2**53 become text, so that no digit is lost."""
    struct = Struct()
    for name, value in members.items():
        _fill(struct.fields[name], value)
    return struct


def _plain(value: Value, field: str, name: str, depth: int) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            raise InvalidField([FieldFault(field=f"{field}.{name}", description="must be a finite number")])
        return int(number) if number.is_integer() and abs(number) < _EXACT_INT else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "null_value":
        return None
    if depth >= MAX_DEPTH:
        raise InvalidField([FieldFault(field=field, description=f"must not be nested deeper than {MAX_DEPTH} levels")])
    if kind == "struct_value":
        fields = value.struct_value.fields
        return {key: _plain(fields[key], field, key, depth + 1) for key in fields}
    if kind == "list_value":
        return [_plain(item, field, name, depth + 1) for item in value.list_value.values]
    raise InvalidField([FieldFault(field=f"{field}.{name}", description="must have a value; use null for nothing")])


def _fill(target: Value, value: Any) -> None:
    if value is None:
        target.null_value = 0  # type: ignore[assignment]
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        if isinstance(value, int) and abs(value) >= _EXACT_INT:
            target.string_value = str(value)
        else:
            target.number_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for name, item in value.items():
            _fill(target.struct_value.fields[name], item)
    elif isinstance(value, list | tuple):
        items: ListValue = target.list_value
        items.SetInParent()
        for item in value:
            _fill(items.values.add(), item)
    else:
        target.string_value = str(value)
