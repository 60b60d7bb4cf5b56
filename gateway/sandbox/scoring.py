"""Scoring rules: the points that an event with an `event_type` gives on a leaderboard. Pure.

Source: Creating Leaderboards, Leaderboard Overview (`scoring.rules[]`, `scope.filters`, operators `eq` and `in`).
Assumptions: `points_expression` is a number or a field path. `attrs.x` means `attributes.x`. A condition is
{operator: value}, or a plain value, which means `eq`. An unknown operator matches nothing.
"""

import math
from typing import Any


def points_for(config: dict[str, Any], event: dict[str, Any]) -> float | None:
    """Return the sum of all matching rules, or None if none matches."""
    if not _all_hold(_table(config.get("scope")).get("filters"), event):
        return None
    total: float | None = None
    rules = _table(config.get("scoring")).get("rules")
    for rule in rules if isinstance(rules, list) else []:
        if not isinstance(rule, dict) or rule.get("event_type") != event.get("event_type"):
            continue
        points = _points(rule.get("points_expression"), event)
        if points is not None and _all_hold(rule.get("conditions"), event):
            total = points if total is None else total + points
    return total


def config_error(config: Any) -> str | None:
    """Return what is wrong with a board's config, or None if it is valid."""
    if not isinstance(config, dict):
        return "config must be an object"
    for name in ("scope", "timeframe", "scoring", "ranking"):
        if name in config and not isinstance(config[name], dict):
            return f"config.{name} must be an object"
    scoring = _table(config.get("scoring"))
    rules = scoring.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(each, dict) and "event_type" in each for each in rules):
        return "config.scoring.rules must be a list of objects with event_type"
    if scoring.get("aggregation", "sum") != "sum":
        return "config.scoring.aggregation must be sum"
    if _table(config.get("ranking")).get("method", "score_desc") != "score_desc":
        return "config.ranking.method must be score_desc"
    return None


def _points(expression: Any, event: dict[str, Any]) -> float | None:
    if isinstance(expression, str):
        try:
            value: Any = float(expression)
        except ValueError:
            value = _field(expression, event)
    else:
        value = expression
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _all_hold(conditions: Any, event: dict[str, Any]) -> bool:
    return all(_holds(condition, _field(path, event)) for path, condition in _table(conditions).items())


def _holds(condition: Any, value: Any) -> bool:
    if not isinstance(condition, dict):
        return bool(value == condition)
    for operator, operand in condition.items():
        if operator == "eq":
            holds = value == operand
        elif operator == "in":
            holds = isinstance(operand, list) and value in operand
        else:
            holds = False
        if not holds:
            return False
    return True


def _field(path: str, event: dict[str, Any]) -> Any:
    value: Any = event
    for index, name in enumerate(path.split(".")):
        if not isinstance(value, dict):
            return None
        value = value.get("attributes" if index == 0 and name == "attrs" and name not in value else name)
    return value


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
