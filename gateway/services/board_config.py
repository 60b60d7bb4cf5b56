"""A board's configuration: Phoenix's JSON to the typed message and back, nothing lost either way.

A member that has no field, or whose value is not of the field's type, is kept in the `extra` of its level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import orjson
from google.protobuf.struct_pb2 import Struct

from gateway.errors import FieldFault, InvalidField
from gateway.services.structs import dict_to_struct, struct_to_dict
from gateway.v1 import leaderboard_admin_pb2 as admin_pb2

_TIMEFRAME = ("type", "timezone", "reset_day", "reset_time")
_RULE = ("event_type", "points_expression")
_INT64_LIMIT = 2**63


def config_to_proto(config: Mapping[str, Any]) -> admin_pb2.LeaderboardConfig:
    """Return the typed configuration of what Phoenix sent."""
    message = admin_pb2.LeaderboardConfig()
    rest = dict(config)
    if _is_object(rest.get("timeframe")):
        timeframe = dict(rest.pop("timeframe"))
        message.timeframe.SetInParent()
        _take_texts(timeframe, message.timeframe, _TIMEFRAME)
        _keep_rest(timeframe, message.timeframe.extra)
    if _is_object(rest.get("scoring")):
        _scoring_to_proto(dict(rest.pop("scoring")), message.scoring)
    if _is_object(rest.get("ranking")):
        _ranking_to_proto(dict(rest.pop("ranking")), message.ranking)
    if _is_object(rest.get("scope")):
        message.scope.CopyFrom(dict_to_struct(rest.pop("scope")))
    _keep_rest(rest, message.extra)
    return message


def config_to_json(message: admin_pb2.LeaderboardConfig, field: str) -> bytes:
    """Return the typed configuration as Phoenix's JSON; what is unset is left out.

    Raises: InvalidField naming a member that is set both as a field and in `extra`, or a value that JSON cannot hold.
    """
    members: dict[str, Any] = {}
    if message.HasField("timeframe"):
        texts = {name: getattr(message.timeframe, name) for name in _TIMEFRAME}
        members["timeframe"] = _with_extra(_filled(texts), message.timeframe.extra, _TIMEFRAME, f"{field}.timeframe")
    if message.HasField("scoring"):
        members["scoring"] = _scoring_to_dict(message.scoring, f"{field}.scoring")
    if message.HasField("ranking"):
        members["ranking"] = _ranking_to_dict(message.ranking, f"{field}.ranking")
    if message.HasField("scope"):
        members["scope"] = struct_to_dict(message.scope, f"{field}.scope")
    named = ("timeframe", "scoring", "ranking", "scope")
    return orjson.dumps(_with_extra(members, message.extra, named, field))


def _scoring_to_proto(scoring: dict[str, Any], message: admin_pb2.LeaderboardScoring) -> None:
    message.SetInParent()
    _take_texts(scoring, message, ("aggregation",))
    rules = scoring.get("rules")
    if isinstance(rules, list) and rules and all(_is_object(rule) for rule in rules):
        del scoring["rules"]
        for rule in rules:
            rest, made = dict(rule), message.rules.add()
            _take_texts(rest, made, _RULE)
            if _is_object(rest.get("conditions")):
                made.conditions.CopyFrom(dict_to_struct(rest.pop("conditions")))
            _keep_rest(rest, made.extra)
    _keep_rest(scoring, message.extra)


def _scoring_to_dict(message: admin_pb2.LeaderboardScoring, field: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if message.rules:
        members["rules"] = [_rule_to_dict(rule, f"{field}.rules[{index}]") for index, rule in enumerate(message.rules)]
    members |= _filled({"aggregation": message.aggregation})
    return _with_extra(members, message.extra, ("rules", "aggregation"), field)


def _rule_to_dict(message: admin_pb2.LeaderboardScoringRule, field: str) -> dict[str, Any]:
    members: dict[str, Any] = _filled({name: getattr(message, name) for name in _RULE})
    if message.HasField("conditions"):
        members["conditions"] = struct_to_dict(message.conditions, f"{field}.conditions")
    return _with_extra(members, message.extra, (*_RULE, "conditions"), field)


def _ranking_to_proto(ranking: dict[str, Any], message: admin_pb2.LeaderboardRanking) -> None:
    message.SetInParent()
    _take_texts(ranking, message, ("method",))
    size, min_score = ranking.get("size"), ranking.get("min_score")
    if _is_number(size) and float(size).is_integer() and 0 <= size < _INT64_LIMIT:
        message.size = int(ranking.pop("size"))
    if _is_number(min_score) and math.isfinite(min_score):
        message.min_score = ranking.pop("min_score")
    _keep_rest(ranking, message.extra)


def _ranking_to_dict(message: admin_pb2.LeaderboardRanking, field: str) -> dict[str, Any]:
    members: dict[str, Any] = _filled({"method": message.method})
    if message.HasField("size"):
        members["size"] = message.size
    if message.HasField("min_score"):
        score = message.min_score
        members["min_score"] = int(score) if score.is_integer() and abs(score) < 2**53 else score
    return _with_extra(members, message.extra, ("method", "size", "min_score"), field)


def _take_texts(members: dict[str, Any], message: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if isinstance(members.get(name), str) and members[name]:
            setattr(message, name, members.pop(name))


def _keep_rest(members: Mapping[str, Any], extra: Struct) -> None:
    if members:
        extra.CopyFrom(dict_to_struct(members))


def _filled(texts: Mapping[str, str]) -> dict[str, Any]:
    return {name: text for name, text in texts.items() if text}


def _with_extra(members: dict[str, Any], extra: Struct, named: tuple[str, ...], field: str) -> dict[str, Any]:
    """Add what `extra` holds. A named member may stand there too, as Phoenix's own odd values do, but not in both."""
    further = struct_to_dict(extra, f"{field}.extra")
    for name in named:
        if name in further and name in members:
            fault = FieldFault(field=f"{field}.extra.{name}", description=f"is set as {field}.{name} too; set one")
            raise InvalidField([fault])
    return {**members, **further}


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
