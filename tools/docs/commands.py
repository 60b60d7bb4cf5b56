"""The commands of docs/cli.md, from their own help."""

from __future__ import annotations

from collections.abc import Iterator

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from gateway.cli.examples import EXAMPLES
from gateway.cli.main import app

PROGRAM = "phoenix-gateway"


def overview_and_commands() -> str:
    """Return a table of all commands, then a section for each."""
    commands = list(_commands(get_command(app), ""))
    rows = [f"| [`{name}`](#{_anchor(name)}) | {_first_sentence(command)} |" for name, command in commands]
    sections = [line for name, command in commands for line in _section(name, command)]
    return "\n".join(["| command | what it does |", "|---|---|", *rows, "", *sections])


def _commands(group: object, path: str) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(group, TyperCommand):
        yield path, group
    elif isinstance(group, TyperGroup):
        for name, command in group.commands.items():
            yield from _commands(command, f"{path} {name}".strip())


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _first_sentence(command: TyperCommand) -> str:
    text = " ".join((command.help or "").split("\n\n")[0].split())
    return text.split(". ")[0].split("; ")[0].rstrip(".") + "."


def _section(name: str, command: TyperCommand) -> Iterator[str]:
    arguments = [one for one in command.params if isinstance(one, TyperArgument)]
    options = [one for one in command.params if isinstance(one, TyperOption) and not one.hidden]
    words = [PROGRAM, name, *map(_argument, arguments), *(["[OPTIONS]"] if options else [])]
    yield from (f"### {name}", "", f"`{' '.join(words)}`", "")
    for paragraph in (command.help or "").split("\n\n"):
        yield from (" ".join(paragraph.split()), "")
    examples = EXAMPLES.get(name, ())
    if examples:
        yield from ("```sh", *examples, "```", "")
    rows = [(_argument(one), _meaning(one)) for one in arguments] + [(_spelling(one), _meaning(one)) for one in options]
    if rows:
        yield from ("| option | meaning |", "|---|---|")
        yield from (f"| `{_cell(what)}` | {_cell(meaning)} |" for what, meaning in rows)
        yield ""


def _argument(one: TyperArgument) -> str:
    name = (one.metavar or str(one.name).upper()).strip("[]")
    return name if one.required else f"[{name}]"


def _spelling(option: TyperOption) -> str:
    """Return the option as it is typed, with the name of its value."""
    names = " / ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.metavar or option.opts[0].lstrip('-').upper()}"


def _meaning(one: TyperArgument | TyperOption) -> str:
    """Return the help, with the default where there is one."""
    text = " ".join((one.help or "").split())
    if one.envvar:
        text += f" Or `{one.envvar}`."
    default = getattr(one.default, "value", one.default)  # an enum's member is typed as its value
    if default is None or default is False or default == "" or callable(default):
        return text
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"{text} Default: `{shown}`."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
