"""Struct to JSON and back."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidField
from gateway.services.structs import MAX_DEPTH, dict_to_struct, struct_to_dict, struct_to_json

JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | st.integers(-(2**53) + 1, 2**53 - 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_plain_data_comes_back_as_it_went_in(data: dict[str, object]) -> None:
    """Objects, lists, texts, booleans, nulls and exact integers survive both ways."""
    assert data == struct_to_dict(dict_to_struct(data), "metadata")
    assert data == json.loads(struct_to_json(dict_to_struct(data), "metadata"))


def test_an_integral_number_becomes_a_json_integer() -> None:
    """A Struct knows only doubles; 5.0 goes out as 5."""
    struct = Struct()
    struct.update({"n": 5.0, "half": 0.5})
    assert json.loads(struct_to_json(struct, "metadata")) == {"n": 5, "half": 0.5}
    assert b"5.0" not in struct_to_json(struct, "metadata")


def test_a_large_integer_keeps_every_digit() -> None:
    """What a double cannot hold becomes text."""
    assert dict_to_struct({"n": 2**53 + 1}).fields["n"].string_value == "9007199254740993"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_know_is_refused_by_path(number: float) -> None:
    """NaN and the infinities would become null on the way."""
    struct = Struct(fields={"bad": Value(number_value=number)})
    with pytest.raises(InvalidField) as refused:
        struct_to_json(struct, "event.metadata")
    assert refused.value.faults[0].field == "event.metadata.bad"


def test_an_unset_value_is_refused() -> None:
    """A Value without a kind is no null."""
    with pytest.raises(InvalidField):
        struct_to_json(Struct(fields={"x": Value()}), "cfg")


@pytest.mark.parametrize(("depth", "fits"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_depth_is_bounded(depth: int, fits: bool) -> None:
    """32 levels pass, 33 do not."""
    data: dict[str, object] = {}
    for _ in range(depth - 1):
        data = {"a": data}
    struct = json_format.ParseDict(data, Struct())
    if fits:
        assert data == struct_to_dict(struct, "metadata")
    else:
        with pytest.raises(InvalidField, match="32 levels"):
            struct_to_dict(struct, "metadata")
