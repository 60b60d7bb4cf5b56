"""The tables behind docs/configuration.md are correct: defaults apply and examples are accepted."""

from dataclasses import fields
from typing import Any

import pytest

from gateway.config import Config, names
from gateway.config.setting import Setting
from tests.config.valid_settings import WHOLE, loaded

SETTINGS = [setting for subject in names.SUBJECTS for setting in subject.settings]
NEEDS_A_POLICY = {"GATEWAY_SOCKETS"}


def values(config: Config) -> dict[str, Any]:
    """What can be compared; the callers are no setting."""
    return {one.name: getattr(config, one.name) for one in fields(config) if one.name != "callers"}


@pytest.mark.parametrize("setting", [one for one in SETTINGS if one.default], ids=lambda one: one.name)
def test_a_documented_default_is_in_force(setting: Setting) -> None:
    """Writing the default out changes nothing."""
    assert values(loaded({**WHOLE, setting.name: setting.default})) == values(loaded(WHOLE))


@pytest.mark.parametrize(
    "setting", [one for one in SETTINGS if one.example and one.name not in NEEDS_A_POLICY], ids=lambda one: one.name
)
def test_a_documented_example_is_accepted(setting: Setting) -> None:
    """It is read without a fault, and means something else than the default."""
    assert values(loaded({**WHOLE, setting.name: setting.example})) != values(loaded(WHOLE))


def test_each_row_says_what_it_means() -> None:
    """A sentence, and no setting twice."""
    assert [one.name for one in SETTINGS if not one.meaning.endswith((".", "below"))] == []
    assert len({one.name for one in SETTINGS}) == len(SETTINGS)
