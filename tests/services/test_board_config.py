"""A board's configuration comes back as it went out, whatever Phoenix has in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidField
from gateway.services.board_config import config_to_json, config_to_proto
from gateway.v1 import leaderboard_admin_pb2 as admin_pb2

LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with other things."""

WHOLE = {
    "scope": {"filters": {"attrs.game": {"eq": "chess"}}},
    "timeframe": {"type": "weekly", "timezone": "UTC", "reset_day": "monday", "reset_time": "00:00", "hemisphere": "n"},
    "scoring": {
        "rules": [
            {
                "event_type": "match.completed",
                "points_expression": "attrs.points",
                "conditions": {"attrs.mode": {"in": ["a", "b"]}},
                "weight": 2,
            }
        ],
        "aggregation": "sum",
        "decay": None,
    },
    "ranking": {"method": "score_desc", "size": 1000, "min_score": 0.5, "ties": ["first"]},
    "theme": "dark",
}


def round_trip(config: dict[str, Any]) -> Any:
    return json.loads(config_to_json(config_to_proto(config), "typed_config"))


def test_a_whole_configuration_is_typed() -> None:
    """Each known member in its field, the others in the extra of their level."""
    typed = config_to_proto(WHOLE)
    rule = typed.scoring.rules[0]
    assert ("weekly", "n", "sum", 1000, 0.5, "dark") == (
        typed.timeframe.type,
        typed.timeframe.extra["hemisphere"],
        typed.scoring.aggregation,
        typed.ranking.size,
        typed.ranking.min_score,
        typed.extra["theme"],
    )
    assert ("match.completed", "attrs.points", 2) == (rule.event_type, rule.points_expression, rule.extra["weight"])
    assert WHOLE == round_trip(WHOLE)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"timeframe": {}, "scoring": {}, "ranking": {}, "scope": {}},
        {"timeframe": "weekly", "scoring": [1], "ranking": None, "scope": 3},
        {"ranking": {"size": "1000", "min_score": None}},
        {"ranking": {"size": -1, "min_score": True}},
        {"scoring": {"rules": [{"event_type": 5}, {}]}},
        {"scoring": {"rules": ["all"], "aggregation": ""}},
        {"timeframe": {"type": "", "reset_day": 1}},
    ],
    ids=json.dumps,
)
def test_what_is_not_of_its_type_is_kept(config: dict[str, Any]) -> None:
    """In extra; nothing of Phoenix's is lost."""
    assert config == round_trip(config)


SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5)
NAMES = st.sampled_from(
    ["type", "rules", "event_type", "size", "min_score", "method", "aggregation", "conditions", "x"]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)


@LOADED
@given(st.dictionaries(st.sampled_from(["timeframe", "scoring", "ranking", "scope", "other"]), VALUES))
def test_any_configuration_comes_back(config: dict[str, Any]) -> None:
    """For any content in any place."""
    assert config == round_trip(config)


def test_a_member_in_both_places_is_refused() -> None:
    """Which of the two is meant?"""
    config = admin_pb2.LeaderboardConfig()
    config.timeframe.type = "weekly"
    config.timeframe.extra["type"] = "hourly"
    with pytest.raises(InvalidField) as refused:
        config_to_json(config, "typed_config")
    assert ["typed_config.timeframe.extra.type"] == [fault.field for fault in refused.value.faults]
