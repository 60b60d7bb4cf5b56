"""Checks values of the policy: texts, numbers, limits, path patterns. Faults name the place, never the value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.config.faults import Faults, did_you_mean
from gateway.core.raw_path import SURFACES, PathPattern, PathRefused, parse_pattern
from gateway.core.rights import CallLimits

ALL = "*"
MOST_A_SECOND = 10_000_000
_LIMITS = frozenset({"requests_per_s", "events_per_s", "concurrent"})


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the policy and its place in the file."""

    values: Mapping[str, Any]
    place: str
    faults: Faults

    def refuse_unknown(self, known: frozenset[str]) -> None:
        """Record a fault for every unknown key."""
        for key in self.values:
            if key not in known:
                self.faults.add(f"{self.place}.{key}", "is no setting of a caller", did_you_mean(key, known))

    def text(self, key: str, form: re.Pattern[str], problem: str) -> str | None:
        """Return a required text of that form."""
        value = self.values.get(key)
        if isinstance(value, str) and form.fullmatch(value):
            return value
        self.faults.add(f"{self.place}.{key}", "is missing" if value is None else problem)
        return None

    def texts(self, key: str) -> Iterator[tuple[str, str]]:
        """Yield the texts of a list, each with its place; none if the key is absent."""
        for index, text in enumerate(self.plain_texts(key)):
            yield f"{self.place}.{key}[{index}]", text

    def plain_texts(self, key: str) -> Sequence[str]:
        """Return the texts of a list."""
        value = self.values.get(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
        self.faults.add(f"{self.place}.{key}", "is not a list of texts", 'write ["...", "..."]')
        return ()

    def flag(self, key: str) -> bool:
        """Return true or false; false if the key is absent."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            self.faults.add(f"{self.place}.{key}", "is neither true nor false")
        return value is True

    def whole(self, key: str, *, least: int, most: int) -> int | None:
        """Return a whole number within bounds; None if the key is absent."""
        value = self.values.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most):
            self.faults.add(f"{self.place}.{key}", f"is not a whole number from {least} to {most}")
            return None
        return value

    def limits(self, values: Any) -> CallLimits:
        """Return {requests_per_s, events_per_s, concurrent}. Those that the table omits have no bound."""
        place = f"{self.place}.limits" if "name" in self.values else self.place
        if not isinstance(values, dict):
            self.faults.add(place, "is not a table", "write {requests_per_s = 100, concurrent = 20}")
            return CallLimits()
        for key in values:
            if key not in _LIMITS:
                self.faults.add(place, "holds an unknown limit", did_you_mean(key, _LIMITS))
        inner = Table(values, place, self.faults)
        return CallLimits(
            requests_per_s=inner._rate("requests_per_s"),
            events_per_s=inner._rate("events_per_s"),
            concurrent=inner.whole("concurrent", least=1, most=1_000_000),
        )

    def _rate(self, key: str) -> float | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_A_SECOND:
            self.faults.add(f"{self.place}.{key}", f"is not a number above 0 and at most {MOST_A_SECOND}")
            return None
        return float(value)


def is_all(named: Sequence[tuple[str, str]]) -> bool:
    """Return whether a list holds "*", which means everything."""
    return any(text == ALL for _, text in named)


def distinct(table: Table, key: str, fits: Callable[[str], bool], problem: str) -> frozenset[str] | None:
    """Return the texts of a list that is a bound; None (no bound) if the key is absent."""
    if key not in table.values:
        return None
    found = set()
    for place, text in table.texts(key):
        if fits(text):
            found.add(text)
        else:
            table.faults.add(place, problem)
    return frozenset(found)


def patterns(table: Table, key: str) -> tuple[PathPattern, ...]:
    """Return the path patterns of a list, such as "GET /v1/wallet/*/balances"."""
    found = []
    for place, text in table.texts(key):
        try:
            found.append(parse_pattern(text, SURFACES))
        except PathRefused as refused:
            table.faults.add(place, f"is no pattern: {refused}", "such as GET /v1/wallet/*")
    return tuple(found)
