"""`explain`: every reason and verdict has its meaning; a typing error gets a hint."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.cli.explain import run
from gateway.core.wallet import Verdict


def reasons() -> list[str]:
    kinds: list[type[errors.GatewayError]] = [errors.GatewayError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return sorted({kind.reason for kind in kinds if kind.reason != "INTERNAL" or kind is errors.InternalFault})


@pytest.mark.parametrize("name", [*reasons(), *(verdict.value for verdict in Verdict)])
def test_each_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By its status or reply, whatever its letters' case."""
    assert run(name.lower()) == 0
    reported = capsys.readouterr().out
    assert reported.startswith(name)
    assert len(reported.splitlines()) >= 2


def test_final_replies_differ_from_others(capsys: pytest.CaptureFixture[str]) -> None:
    """A forged webhook gets a final refusal. One that could not be checked does not."""
    run("BAD_SIGNATURE")
    run("KEY_UNAVAILABLE")
    forged, unchecked = (line for line in capsys.readouterr().out.splitlines() if "answers" in line)
    assert ("401 (final" in forged, "503 (Phoenix retries" in unchecked) == (True, True)


def test_an_unknown_name_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1."""
    assert run("RATE_LIMTED") == 1
    assert "RATE_LIMITED" in capsys.readouterr().err
