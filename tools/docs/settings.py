"""The tables of docs/configuration.md, from the tables in gateway/config."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.names import SUBJECTS
from gateway.config.process_settings import CONFIG_FILE
from gateway.config.setting import Form, Setting, Subject

_FILE = Subject(title="Configuration file", settings=(CONFIG_FILE,))


def tables() -> str:
    """Return a section per subject."""
    return "\n".join(line for subject in (_FILE, *SUBJECTS) for line in _section(subject))


def _section(subject: Subject) -> Iterator[str]:
    yield from (f"### {subject.title}", "")
    if subject.note:
        yield from (subject.note, "")
    yield from ("| setting | meaning | unit | default |", "|---|---|---|---|")
    for setting in subject.settings:
        meaning = setting.meaning + (f" Example: `{setting.example}`." if setting.example else "")
        yield f"| {_name(setting)} | {meaning} | {setting.unit or '–'} | {_default(setting)} |"
    yield ""


def _name(setting: Setting) -> str:
    """Return the name; with its file form where it has one."""
    if setting.form is Form.PLAIN:
        return f"`{setting.name}`"
    return f"`{setting.name}`, `{setting.name}_FILE`" + (" (secret)" if setting.form is Form.SECRET else "")


def _default(setting: Setting) -> str:
    return f"`{setting.default}`" if setting.default else setting.unset or "–"
