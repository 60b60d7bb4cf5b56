"""Reads docker-compose.yml as Compose does: YAML, merge keys, interpolation; and the schema to hold it against.

The schema is the compose-spec's own, as `check-jsonschema` carries it.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<kind>:?-)(?P<default>[^}]*))?\})")


def read_raw() -> dict[str, Any]:
    """Return the file with merge keys resolved and nothing interpolated."""
    document: dict[str, Any] = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


def read(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the file as Compose sees it with this environment; relative paths stay relative."""
    document: dict[str, Any] = _interpolated(read_raw(), environ)
    return document


def _interpolated(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolated(each, environ) for key, each in value.items()}
    if isinstance(value, list):
        return [_interpolated(each, environ) for each in value]
    return _VARIABLE.sub(lambda match: _replacement(match, environ), value) if isinstance(value, str) else value


def _replacement(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    given = environ.get(match["name"])
    if given is None or (given == "" and match["kind"] == ":-"):
        assert match["kind"] is not None, f"{match['name']} has no default"
        return match["default"]
    return given


def schema() -> dict[str, Any]:
    """Return the compose-spec's JSON schema."""
    found = importlib.util.find_spec("check_jsonschema")  # only its folder: importing it would bring its command line
    assert found is not None
    assert found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "builtin_schemas" / "vendor" / "compose-spec.json"
    text: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return text
