"""Defines one setting. The tables are in tenant_settings, operator_settings and process_settings.

`docs/configuration.md` is generated from these tables; the readers beside them check the values.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Form(enum.Enum):
    """How a setting may be given, and whether it may be shown."""

    PLAIN = "plain"
    SECRET = "secret"
    """Never shown; NAME_FILE reads it from a file."""
    PUBLIC_FILE = "public file"
    """Not secret; NAME_FILE reads it from a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the documentation, in Markdown.

    `default`: as a user writes it; empty if there is none. `unset`: what applies if there is no default value.
    `example`: a value that shows the form, if it is not obvious.
    """

    name: str
    meaning: str
    unit: str = ""
    default: str = ""
    unset: str = ""
    example: str = ""
    form: Form = Form.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Settings that belong together: a section of the documentation."""

    title: str
    settings: tuple[Setting, ...]
    note: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the settings, in the order of the table."""
        return tuple(setting.name for setting in self.settings)
