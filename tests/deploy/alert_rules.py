"""Reads the shipped alerts and dashboard: rules, queries, what they select, and a form with short times for tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "phoenix-gateway.json"
PREFIX = "PhoenixGateway"
_SELECTOR = re.compile(r"\b((?:phoenix_gateway|process)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FASTER = 60
_SHORTEST_S, _LONGEST_S = 5, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """What one query reads: a metric and its matchers of label, operator and value."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


def groups() -> list[dict[str, Any]]:
    """Return the groups of the rules file."""
    loaded: dict[str, Any] = YAML(typ="safe").load(RULES.read_text(encoding="utf-8"))
    return list(loaded["groups"])


def alerts() -> dict[str, dict[str, Any]]:
    """Return every alert by its name."""
    return {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


def records() -> set[str]:
    """Return the names that recording rules make."""
    return {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return loaded


def panel_queries() -> Iterator[tuple[str, str]]:
    """Yield the title of a panel and one of its queries, with its variables."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def filled(query: str, interval: str = "5m") -> str:
    """Return a query of the dashboard as Grafana sends it with `All` chosen."""
    chosen: Mapping[str, str] = {"$__rate_interval": interval, "$job": ".*", "$instance": ".*", "$service": ".*"}
    for name, value in chosen.items():
        query = query.replace(name, value)
    assert "$" not in re.sub(r'"\$1"', "", query), query
    return query


def selectors(query: str) -> Iterator[Selector]:
    """Yield what a query reads of the gateway. The names of recording rules are left out."""
    without = re.sub(r"\b\w+:\w+:\w+\b", "", query)
    for metric, matchers in _SELECTOR.findall(without):
        yield Selector(metric=metric, matchers=tuple(_MATCHER.findall(matchers or "")))


def grouping_labels(query: str) -> set[str]:
    """Return the labels that a query groups or joins by."""
    lists = re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", query)
    return {label.strip() for each in lists for label in each.split(",")}


def shortened(text: str) -> str:
    """Return the text of the rules with times a sixtieth as long, for a test that cannot wait.

    Ranges and `for` are bounded too, because a range needs some scrapes. Thresholds on ages are a sixtieth, too.
    """

    def bounded(number: str, unit: str) -> str:
        return f"{min(max(int(number) * _SECONDS[unit] // _FASTER, _SHORTEST_S), _LONGEST_S)}s"

    text = re.sub(r"\[(\d+)([smhd])\]", lambda found: f"[{bounded(found[1], found[2])}]", text)
    text = re.sub(r"\bfor: (\d+)([smhd])", lambda found: f"for: {bounded(found[1], found[2])}", text)
    return re.sub(r"((?<!timestamp)_seconds\)? > )(\d+)", lambda found: f"{found[1]}{int(found[2]) / _FASTER:g}", text)
