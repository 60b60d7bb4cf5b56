"""Finds the text of each setting: environment before `.env` before the TOML file. Reports unknown names.

values.py checks the texts. No message repeats a text.
"""

from __future__ import annotations

import hashlib
import io
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.config import names
from gateway.config.callers import SECTIONS
from gateway.config.faults import Faults, did_you_mean
from gateway.core.secret_text import in_quotes, invisible_in
from gateway.keys.sources.file_access import exposure_of, whoami
from gateway.keys.sources.secret_files import FileStamp, stamp_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A setting's text, its name as the user wrote it, and the folder of its relative paths."""

    setting: str
    text: str = field(repr=False)
    folder: Path


class Scope:
    """The settings of the process, of one tenant or of one operator, by the name of the environment variable."""

    def __init__(
        self,
        given: Mapping[str, Given],
        *,
        shown: Callable[[str], str] = lambda name: name,
        shared: frozenset[str] = frozenset(),
        fallback: Scope | None = None,
    ) -> None:
        """Look into `given`, then into `fallback` for the names in `shared`. `shown` names an absent setting."""
        self._given = given
        self._shown = shown
        self._shared = shared
        self._fallback = fallback

    def get(self, name: str) -> Given | None:
        """Return what is given for the name; None when nothing is."""
        found = self._given.get(name)
        if found is None and self._fallback is not None and name in self._shared:
            # A value of this scope, in any form, hides all forms of the shared one.
            forms = names.forms_of(names.plain_name(name))
            return None if any(form in self._given for form in forms) else self._fallback.get(name)
        return found

    def shown(self, name: str) -> str:
        """Return the name to use in a message: where the setting is, or where it would have to be."""
        found = self.get(name)
        return found.setting if found is not None else self._shown(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything found: the scope of the process, and one for each table of the TOML file.

    `policy`: the part of the file that is the policy; `file`: None if there is none; `stamp`: the state of the file
    before it was read; `digest`: that of its settings; `env_file`: None if nothing came from it.
    """

    process: Scope
    tenants: tuple[Scope, ...]
    operators: tuple[Scope, ...]
    policy: Mapping[str, Any]
    file: Path | None
    stamp: FileStamp | None
    digest: str
    env_file: Path | None


def read_sources(environ: Mapping[str, str], env_file: Path | None, faults: Faults) -> Sources:
    """Read the environment, `env_file` where it exists, and the TOML file that either names.

    Args: `env_file` None means `.env`, or what `--env-file` names.
    """
    own = {name: text for name, text in environ.items() if text != ""}
    if env_file is None:
        env_file = Path(own.get(names.ENV_FILE, ".env"))
    dotenv = read_env_file(env_file, faults)
    _warn_of_unknown(own | dotenv, faults)
    config = own.get(names.CONFIG_FILE) or dotenv.get(names.CONFIG_FILE)
    path = Path(config.strip().replace("\0", "?")) if config else None
    stamp = file_stamp(path) if path is not None else None
    document = read_toml(path, faults) if path is not None else {}
    folder = path.parent if path is not None else Path()

    given: dict[str, Given] = {}
    for layer in (_top_values(document, folder, faults), _as_given(dotenv, faults), _as_given(own, faults)):
        for name in layer:  # any form of a setting replaces all forms of a lower layer
            for form in names.forms_of(names.plain_name(name)):
                given.pop(form, None)
        given.update(layer)
    if names.TRIAL in own:
        for name in names.TRIAL_WITHOUT:
            given.pop(name, None)
    process = Scope(given)
    return Sources(
        process=process,
        tenants=_tables(document, "tenants", names.TENANT_KEYS, names.TENANT_SHARED, process, folder, faults),
        operators=_tables(document, "operators", names.OPERATOR_KEYS, names.OPERATOR_SHARED, process, folder, faults),
        policy={key: value for key, value in document.items() if key in SECTIONS},
        file=path,
        stamp=stamp,
        digest=settings_digest(document),
        env_file=env_file if dotenv else None,
    )


def _as_given(texts: Mapping[str, str], faults: Faults) -> dict[str, Given]:
    known = [name for name in names.ENVIRONMENT_NAMES if name in texts]
    return {name: _given(name, name, texts[name], Path(), faults) for name in known}


def _given(name: str, shown: str, text: str, folder: Path, faults: Faults) -> Given:
    """Return the value; a fault if quotes stand around it, as programs leave them that are not a shell.

    Secrets are checked where they are read. Args: `shown`: the name of the setting where the user wrote it.
    """
    if name not in names.SECRETS and in_quotes(text):
        faults.add(shown, "is in quotes, which are part of its value here", "remove the quotes")
        text = text.strip()[1:-1]  # so that nothing else is found wrong because of them
    return Given(setting=shown, text=text, folder=folder)


def read_env_file(path: Path, faults: Faults) -> dict[str, str]:
    """Return the settings of a file; none if there is no such file. Records a fault for what it cannot read."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        faults.add(path.name, f"the file cannot be read ({error.strerror})", f"check its owner; {whoami()}")
        return {}
    except UnicodeDecodeError:
        faults.add(path.name, "the file is not UTF-8 text (perhaps UTF-16)", "save it as UTF-8")
        return {}
    if "\0" in content:
        faults.add(path.name, "the file has NUL bytes, as UTF-16 has without its mark", "save it as UTF-8")
        return {}
    from dotenv.parser import parse_stream  # imported only if there is such a file

    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(content)):
        if binding.error:
            faults.add(f"{path.name}, line {binding.original.line}", "is not NAME=value", "quote what holds blanks")
        elif binding.key is not None and (invisible := invisible_in(binding.key)) is not None:
            problem = f"has a name with the invisible character {invisible}, which no setting has"
            faults.add(f"{path.name}, line {binding.original.line}", problem, "remove it")
        elif binding.key is not None and binding.value:
            found[binding.key] = binding.value
    if any(name in found for name in names.SECRETS) and (exposure := exposure_of(path, path.stat())):
        problem, _, remedy = f"the file holds a secret and {exposure}".partition("; ")
        faults.add(path.name, problem, remedy)
    return found


def _warn_of_unknown(texts: Mapping[str, str], faults: Faults) -> None:
    for name in sorted(texts):
        if not name.startswith(names.OWN_PREFIXES) or name.startswith(names.OF_COMMANDS):
            continue
        if name not in (*names.ENVIRONMENT_NAMES, names.TRIAL, names.ENV_FILE):
            faults.warn(name, "is no setting of the gateway", did_you_mean(name, names.ENVIRONMENT_NAMES))


def file_stamp(path: Path) -> FileStamp | None:
    """Return a stamp that changes with the file; None if the file cannot be read."""
    try:
        return stamp_of(path)
    except OSError:
        return None


def read_toml(path: Path, faults: Faults) -> dict[str, Any]:
    """Return the content of the file. Records a fault if it cannot be read, or if other users can change it."""
    try:
        content = path.read_bytes()
        document = tomllib.loads(content.decode("utf-8-sig"))
        status = path.stat()
    except OSError as error:
        remedy = f"check the path and its owner; {whoami()}"
        faults.add(names.CONFIG_FILE, f"the file cannot be opened ({error.strerror})", remedy)
        return {}
    except UnicodeDecodeError:
        faults.add(names.CONFIG_FILE, "the file is not UTF-8 text", "save it as UTF-8")
        return {}
    except RecursionError:
        faults.add(names.CONFIG_FILE, "the file nests its values too deeply", "correct the syntax")
        return {}
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line \d+, column \d+", str(error))  # the rest of the text may quote a value
        where = f" at {place[0]}" if place else ""
        faults.add(names.CONFIG_FILE, f"the file is not valid TOML{where}", "correct the syntax")
        return {}
    if _holds_secret(document) and (exposure := exposure_of(path, status)):
        problem, _, remedy = f"the file holds a secret and {exposure}".partition("; ")
        faults.add(names.CONFIG_FILE, problem, f"{remedy}; or name secrets by NAME_FILE")
    elif status.st_mode & 0o002 and SECTIONS & document.keys():
        problem = "the file holds the policy and every user of this machine can change it"
        faults.add(names.CONFIG_FILE, problem, "run chmod o-w on it")
    return document


def settings_digest(document: Mapping[str, Any]) -> str:
    """Return a digest of everything in the file that is not the policy, to notice a change of it."""
    settings = {key: value for key, value in document.items() if key not in SECTIONS}
    return hashlib.sha256(repr(settings).encode("utf-8", "surrogatepass")).hexdigest()


def _holds_secret(document: Mapping[str, Any]) -> bool:
    tables = [document, *_list(document.get("tenants")), *_list(document.get("operators"))]
    keys = {**names.TOP_KEYS, **names.TENANT_KEYS, **names.OPERATOR_KEYS}
    return any(keys.get(key) in names.SECRETS for table in tables if isinstance(table, dict) for key in table)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _top_values(document: Mapping[str, Any], folder: Path, faults: Faults) -> dict[str, Given]:
    plain = {key: value for key, value in document.items() if key not in ("tenants", "operators", "audit", *SECTIONS)}
    audit = document.get("audit", {})
    if not isinstance(audit, dict):
        faults.add("audit", "is not a table", "write [audit] and below it file and required")
        audit = {}
    given = _table_values(audit, "audit.", names.AUDIT_KEYS, folder, faults)
    return given | _table_values(plain, "", names.TOP_KEYS, folder, faults)


def _tables(
    document: Mapping[str, Any],
    kind: str,
    keys: Mapping[str, str],
    shared: tuple[str, ...],
    process: Scope,
    folder: Path,
    faults: Faults,
) -> tuple[Scope, ...]:
    tables = document.get(kind, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        faults.add(kind, "is not a list of tables", f"write each as [[{kind}]]")
        return ()
    return tuple(
        Scope(
            _table_values(table, f"{kind}[{index}].", keys, folder, faults),
            shown=lambda name, index=index: f"{kind}[{index}].{names.in_table(name)}",  # type: ignore[misc]
            shared=frozenset(names.with_forms(shared)),
            fallback=process,
        )
        for index, table in enumerate(tables)
    )


def _table_values(
    table: Mapping[str, Any], prefix: str, keys: Mapping[str, str], folder: Path, faults: Faults
) -> dict[str, Given]:
    """Return the values of a table as texts, by the name of the environment variable."""
    given: dict[str, Given] = {}
    for key, value in table.items():
        shown = prefix + key
        name = keys.get(key)
        text = _as_text(value)
        if name is None:
            faults.add(shown, "is no setting of the gateway", did_you_mean(key, keys))
        elif text is None:
            faults.add(shown, "is neither a text, a number, true or false nor a list of texts", "write it as one")
        elif text != "":
            given[name] = _given(name, shown, text, folder, faults)
    return given


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    return None
