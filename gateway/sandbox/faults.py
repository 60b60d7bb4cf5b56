"""Faults that control sets: which call they hit and what they do to it; carried out by `front`.

Kinds: `status` answers so instead of acting; `delay` waits, then goes on; `hang` never answers; `cut` closes the
connection before acting; `garbage` answers 200 with bytes that are no JSON; `lose_answer` acts, then cuts; `half`
acts, then sends half the answer and cuts; `redirect` answers 302; `huge` sends megabytes without end of sense.
`delay_ms` may stand beside every kind; `act` overrides whether the call takes effect before the fault shows.
"""

import base64
import random
from dataclasses import dataclass
from typing import Any

KINDS = ("status", "delay", "hang", "cut", "garbage", "lose_answer", "half", "redirect", "huge")
ACTS_FIRST = ("garbage", "lose_answer", "half")
_STATUS = {"status": 500, "garbage": 200, "redirect": 302, "huge": 200}
_MEMBERS = {
    "surface", "method", "path_prefix", "kind", "status", "headers", "body", "body_base64", "delay_ms", "times",
    "probability", "act", "megabytes", "reset",
}  # fmt: skip


class BadFault(ValueError):
    """A fault that cannot be understood; the text names the member."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault; `times` None hits for ever, `hits` counts."""

    id: int
    surface: str
    kind: str
    method: str | None
    path_prefix: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    delay_s: float
    times: int | None
    probability: float
    act: bool
    megabytes: int
    reset: bool
    hits: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return what a list of faults shows."""
        names = ("id", "surface", "kind", "method", "path_prefix", "status", "delay_s", "times", "probability")
        return {name: getattr(self, name) for name in (*names, "act", "hits")}


class FaultTable:
    """The faults in force, in the order they were set; the first that fits a call hits it."""

    def __init__(self, seed: int = 0) -> None:
        self._faults: dict[int, Fault] = {}
        self._next = 1
        self._chance = random.Random(seed)

    def __len__(self) -> int:
        return len(self._faults)

    def pick(self, surface: str, method: str, path: str) -> Fault | None:
        """Return the fault that hits this call and count it; one that is used up goes."""
        for fault in self._faults.values():
            if fault.surface not in ("*", surface) or fault.method not in (None, method):
                continue
            if not path.startswith(fault.path_prefix):
                continue
            if fault.probability < 1 and self._chance.random() >= fault.probability:
                continue
            fault.hits += 1
            if fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    del self._faults[fault.id]
            return fault
        return None

    def add(self, wish: dict[str, Any], surfaces: tuple[str, ...]) -> Fault:
        """Set a fault; raises BadFault for one that would not do what was meant."""
        fault = _read(wish, self._next, surfaces)
        self._next += 1
        self._faults[fault.id] = fault
        return fault

    def remove(self, fault_id: int | None = None) -> int:
        """Lift one fault, or all; return how many were lifted."""
        if fault_id is None:
            count = len(self._faults)
            self._faults.clear()
            return count
        return 0 if self._faults.pop(fault_id, None) is None else 1

    def listed(self) -> list[dict[str, Any]]:
        """Return the faults in force."""
        return [fault.as_dict() for fault in self._faults.values()]


def _read(wish: dict[str, Any], fault_id: int, surfaces: tuple[str, ...]) -> Fault:
    unknown = set(wish) - _MEMBERS
    if unknown:
        raise BadFault(f"no such member: {', '.join(sorted(unknown))}")
    kind = wish.get("kind")
    if kind not in KINDS:
        raise BadFault(f"kind: one of {', '.join(KINDS)}")
    surface = wish.get("surface")
    if surface not in (*surfaces, "*"):
        raise BadFault(f"surface: one of {', '.join(surfaces)}, *")
    status = _number(wish, "status", _STATUS.get(kind, 200), 200, 599)
    times = None if wish.get("times") is None else int(_number(wish, "times", 1, 1, 10**9))
    method = wish.get("method")
    headers = wish.get("headers") or {}
    if not isinstance(headers, dict):
        raise BadFault("headers: an object of texts")
    prefix = wish.get("path_prefix") or ""
    if not isinstance(prefix, str) or not (method is None or isinstance(method, str)):
        raise BadFault("method and path_prefix: texts")
    delay_ms = _number(wish, "delay_ms", 0, 0, 3_600_000)
    if kind == "delay" and not delay_ms:
        raise BadFault("delay_ms: needed for delay")
    return Fault(
        id=fault_id,
        surface=surface,
        kind=kind,
        method=method.upper() if method else None,
        path_prefix=prefix,
        status=int(status),
        headers=tuple((str(name), str(value)) for name, value in headers.items()),
        body=_body(wish, kind),
        delay_s=delay_ms / 1000,
        times=times,
        probability=_number(wish, "probability", 1, 0, 1),
        act=bool(wish.get("act", kind in ACTS_FIRST)),
        megabytes=int(_number(wish, "megabytes", 100, 1, 1000)),
        reset=bool(wish.get("reset", False)),
    )


def _body(wish: dict[str, Any], kind: str) -> bytes:
    if "body_base64" in wish:
        try:
            return base64.b64decode(wish["body_base64"], validate=True)
        except (ValueError, TypeError):
            raise BadFault("body_base64: not base64") from None
    body = wish.get("body")
    if body is None:
        return b"\x00\xff<not json>{" if kind == "garbage" else b""
    if isinstance(body, str):
        return body.encode()
    import orjson

    return orjson.dumps(body)


def _number(wish: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = wish.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadFault(f"{name}: a number from {least} to {most}")
    return value
