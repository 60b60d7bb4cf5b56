"""`explain` takes an id as a person pastes it, and says what it may be."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.actions.admin.explain_advice import REASONS, VERDICTS
from gateway.cli.explain import is_reason
from gateway.cli.explain_story import run
from gateway.core.story_text import form_of, id_in
from gateway.core.wallet import Verdict
from tests.cli.test_explain import reasons
from tests.ports import free_port

UUID = "01956a3c-8f8e-7d2a-9b1e-3c5d7f9a1b2c"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "pasted",
    [
        UUID,
        f"  {UUID}\n",
        f'"{UUID}",',
        f"x-request-id: {UUID}",
        f"X-Request-Id:{UUID}\r\n",
        f'"request_id":"{UUID}"',
        f"request_id={UUID}",
        f"event_id: '{UUID}'",
        f"({UUID})",
        f"\u200b{UUID}\u00a0",
    ],
)
def test_what_stands_around_an_id_does_not_matter(pasted: str) -> None:
    """Blanks, quotes, invisible characters, the name of a header or field."""
    assert id_in(pasted) == UUID


def test_ids_of_callers_stay_as_they_are() -> None:
    """A caller may choose ids with these characters; a traceparent is its trace id."""
    assert [id_in(one) for one in ("order:4711/A+b=", f"00-{TRACE}-00f067aa0ba902b7-01")] == ["order:4711/A+b=", TRACE]


def test_forms_are_told_apart() -> None:
    """An unknown id is described, so that a person sees that they pasted something else."""
    forms = [form_of(one).split(":")[0] for one in (UUID, TRACE, "0a" * 32, "r-1")]
    assert forms[:2] == ["a UUID", "32 hexadecimal digits"]
    assert "SHA-256" in forms[2]
    assert forms[3].startswith("a text")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("", True),
        ("rate_limited", True),
        (" BAD_SIGNATURE ", True),
        ("RATE_LIMTED", True),
        (UUID, False),
        ("r-1", False),
    ],
)
def test_reasons_are_told_from_ids(text: str, is_one: bool) -> None:
    """Also a misspelled one, which gets a hint and needs no gateway."""
    assert is_reason(text) is is_one


def test_there_is_advice_for_every_reason_and_refusal() -> None:
    """Whoever is woken up is told what to do."""
    assert set(REASONS) == {*reasons(), errors.InternalFault.reason, "CANCELLED"}
    assert set(VERDICTS) == {verdict.value for verdict in Verdict} - {Verdict.VERIFIED.value}


def test_without_a_gateway_it_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the option."""
    assert run(UUID, f"127.0.0.1:{free_port()}", None, None, None, as_json=False) == 2
    assert "--admin" in capsys.readouterr().err
