"""The quick reader of TOML says what the standard one says, of every file."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import quick_toml

LINES = st.sampled_from(
    [
        "[[callers]]", "[[callers]] # one", " [[callers]]", "[callers]", "[callers.limits]", "[[callers.more]]",
        "[roles]", "[[tenants]]", "[tenant_limits]", "", "# a comment", "  # another", "\t", "#\x01",
        'name = "game"', 'name = "other"  ', "name = 'game'", 'name="game"', 'name = "a\\u0041"', 'name = "unfinished',
        'name = "a # b" # c', 'allow = ["a", "b"]', 'allow = ["a","b" ]', 'allow = ["a",]', "allow = []", "allow = [",
        "]", '"x",', '["a"]', 'limits = {requests_per_s = 1, concurrent = 2}', "limits.concurrent = 3",
        "limits.events_per_s = 0.5", "max_token_ttl_s = 300", "max_token_ttl_s = 007", "max_token_ttl_s = 0x1F",
        "reflection = true", "reflection = false # no", "reflection = True", '"name" = "quoted"', "a.b.c = 1",
        "when = 2026-11-21", 'long = """', 'text"""', "ids = ['a', \"b\"]", 'name = "tab\tin"', "callers = []", "= 1",
    ]
)  # fmt: skip


def both(text: str) -> tuple[object, object]:
    """What the two readers make of it; the error's text where it is none."""
    found: list[object] = []
    for read in (quick_toml.loads, tomllib.loads):
        try:
            found.append(read(text))
        except tomllib.TOMLDecodeError as error:
            found.append(str(error))
    return found[0], found[1]


@given(st.lists(LINES, max_size=14))
@settings(max_examples=400)
def test_both_readers_agree(lines: list[str]) -> None:
    """Also on faults, and on where they are."""
    quick, standard = both("\n".join(lines) + "\n")
    assert standard == quick


@given(st.text(alphabet="[]callers\n=\"name#'{},.1 \\\r", max_size=80))
def test_both_agree_on_garbage(text: str) -> None:
    """Whatever the characters stand for."""
    quick, standard = both(f"[[callers]]\n{text}\n[[callers]]\n")
    assert standard == quick


@pytest.mark.parametrize("lines", ['name = "a"\nname = "b"', "limits.a = 1\nlimits.b = 2"])
def test_what_stands_twice_is_left_to_the_standard_reader(lines: str) -> None:
    """A key that comes again is a fault or a part of the same table."""
    quick, standard = both(f"\n[[callers]]\n{lines}\n")
    assert standard == quick


def test_a_plain_policy_is_read_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way is really taken: the standard reader sees none of the callers."""
    seen: list[str] = []
    standard = tomllib.loads

    def loads(text: str) -> dict[str, Any]:
        seen.append(text)
        return standard(text)

    text = '[roles]\nr = ["x"]\n\n[[callers]]\nname = "a"\nids = ["b", "c"]\nroles = ["r"] # why\nreflection = true\n'
    expected = standard(text)
    monkeypatch.setattr("tomllib.loads", loads)
    assert expected == quick_toml.loads(text)
    assert 'name = "a"' not in "".join(seen)
