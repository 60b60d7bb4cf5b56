"""No bytes from outside crash a parser, block it or appear in its messages.

`make test` tries the corpus and a few hundred inputs each; `make fuzz` searches for FUZZ_MINUTES (10) over all targets.
An input that broke a parser once is kept in `corpus/TARGET/`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from gateway.errors import GatewayError, InvalidField
from tests.fuzz.mutation import outside_bytes
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
LONGEST_S = 2.0
"""One input of 64 KiB; a parser that is quadratic in it takes longer, a loaded machine does not."""
QUOTED_BYTES = 16
"""So many bytes of the input in a message are a quotation; fewer may be chance."""
MINUTES = float(os.environ.get("FUZZ_MINUTES", "10"))


def try_one(name: str, data: bytes) -> None:
    """Parse once; whatever is wrong about it is an AssertionError or the parser's own unexpected exception."""
    target = TARGETS[name]
    began = time.process_time()
    outcome: object
    try:
        outcome = target.parse(data)
    except target.refusals as refusal:
        outcome = refusal
    assert time.process_time() - began < LONGEST_S, "takes too long"
    if isinstance(outcome, Exception):
        assert not quoted(reported(outcome), data), "what is said quotes the input"


def reported(refusal: Exception) -> str:
    """All texts of a refusal."""
    parts = [str(refusal), repr(refusal)]
    if isinstance(refusal, InvalidField):
        parts += [f"{fault.field} {fault.description}" for fault in refusal.faults]
    if isinstance(refusal, GatewayError):
        # An error code of Phoenix's is shown on purpose, cleaned and short; its alphabet holds no secret's form.
        parts += [value for name, value in refusal.metadata.items() if name != "phoenix_code"]
    return "\n".join(parts)


def quoted(text: str, data: bytes) -> bool:
    """Whether a part of the input is in the text."""
    given_text = data.decode("latin-1")
    return any(
        given_text[at : at + QUOTED_BYTES] in text
        for at in range(min(len(given_text), 4096) - QUOTED_BYTES + 1)
        if given_text[at : at + QUOTED_BYTES].strip()
    )


@pytest.mark.parametrize("name", TARGETS)
def test_good_input_is_taken_or_refused_in_words(name: str) -> None:
    """The seeds themselves, and what broke a parser before."""
    kept = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    for data in (*TARGETS[name].seeds, b"", *kept):
        try_one(name, data)


def test_corpus_belongs_to_targets() -> None:
    """Nothing in the corpus is forgotten when a target is renamed."""
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} <= set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_hundred_inputs(name: str) -> None:
    """A short search on every run."""

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(outside_bytes(TARGETS[name].seeds))
    def search(data: bytes) -> None:
        try_one(name, data)

    search()


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TARGETS)
def test_minutes_of_inputs(name: str) -> None:
    """A long search; what it finds is shrunk and printed, and belongs into the corpus."""
    until = time.monotonic() + MINUTES * 60 / len(TARGETS)
    tried = 0

    @settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(outside_bytes(TARGETS[name].seeds))
    def search(data: bytes) -> None:
        nonlocal tried
        tried += 1
        try_one(name, data)

    while time.monotonic() < until:
        search()
    assert tried > 0
