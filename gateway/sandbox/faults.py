"""Injected faults: which calls they match and what happens to these calls. `http_server` carries them out.

Kinds:
- `status`: answer with this status and do not execute the call
- `delay`: wait, then execute the call and answer normally
- `hang`: never answer
- `cut`: close the connection and do not execute the call
- `garbage`: execute the call, then answer 200 with a body that is not JSON
- `lose_answer`: execute the call, then close the connection without an answer
- `half`: execute the call, send half of the answer, then close the connection
- `redirect`: answer 302
- `huge`: send many megabytes
Every kind may have a `delay_ms`. `act` overrides whether the call is executed.
"""

import random
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.sandbox.control_input import InvalidControlRequest, read_base64, read_number, reject_unknown

KINDS = ("status", "delay", "hang", "cut", "garbage", "lose_answer", "half", "redirect", "huge")
ACTS_FIRST = ("garbage", "lose_answer", "half")
_STATUS = {"status": 500, "garbage": 200, "redirect": 302, "huge": 200}
_MEMBERS = {
    "surface", "method", "path_prefix", "kind", "status", "headers", "body", "body_base64", "delay_ms", "times",
    "probability", "act", "megabytes", "reset",
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault. `times` is how many more calls it affects, None for no limit. `hits` counts the affected calls."""

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
        """Return the JSON form for the list of faults."""
        names = ("id", "surface", "kind", "method", "path_prefix", "status", "delay_s", "times", "probability")
        return {name: getattr(self, name) for name in (*names, "act", "hits")}


class FaultTable:
    """The active faults in the order of their creation. The first one that matches a call affects it."""

    def __init__(self, seed: int = 0) -> None:
        self._faults: dict[int, Fault] = {}
        self._next = 1
        self._random = random.Random(seed)

    def __len__(self) -> int:
        return len(self._faults)

    def pick(self, surface: str, method: str, path: str) -> Fault | None:
        """Return the fault for this call and count it. Remove the fault after its last use."""
        for fault in self._faults.values():
            if fault.surface not in ("*", surface) or fault.method not in (None, method):
                continue
            if not path.startswith(fault.path_prefix):
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            fault.hits += 1
            if fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    del self._faults[fault.id]
            return fault
        return None

    def add(self, request: dict[str, Any], surfaces: tuple[str, ...]) -> Fault:
        """Add a fault. Raise InvalidControlRequest if a member is unknown or has an invalid value."""
        fault = _read_fault(request, self._next, surfaces)
        self._next += 1
        self._faults[fault.id] = fault
        return fault

    def remove(self, fault_id: int | None = None) -> int:
        """Remove one fault, or all. Return how many were removed."""
        if fault_id is None:
            count = len(self._faults)
            self._faults.clear()
            return count
        return 0 if self._faults.pop(fault_id, None) is None else 1

    def as_list(self) -> list[dict[str, Any]]:
        """Return the active faults."""
        return [fault.as_dict() for fault in self._faults.values()]


def _read_fault(request: dict[str, Any], fault_id: int, surfaces: tuple[str, ...]) -> Fault:
    reject_unknown(request, _MEMBERS)
    kind = request.get("kind")
    if kind not in KINDS:
        raise InvalidControlRequest(f"kind: must be one of {', '.join(KINDS)}")
    surface = request.get("surface")
    if surface not in (*surfaces, "*"):
        raise InvalidControlRequest(f"surface: must be one of {', '.join(surfaces)}, *")
    status = read_number(request, "status", _STATUS.get(kind, 200), 200, 599)
    times = None if request.get("times") is None else int(read_number(request, "times", 1, 1, 10**9))
    method = request.get("method")
    headers = request.get("headers") or {}
    if not isinstance(headers, dict):
        raise InvalidControlRequest("headers: must be an object")
    prefix = request.get("path_prefix") or ""
    if not isinstance(prefix, str) or not (method is None or isinstance(method, str)):
        raise InvalidControlRequest("method and path_prefix: must be strings")
    delay_ms = read_number(request, "delay_ms", 0, 0, 3_600_000)
    if kind == "delay" and not delay_ms:
        raise InvalidControlRequest("delay_ms: required for the kind delay")
    return Fault(
        id=fault_id,
        surface=surface,
        kind=kind,
        method=method.upper() if method else None,
        path_prefix=prefix,
        status=int(status),
        headers=tuple((str(name), str(value)) for name, value in headers.items()),
        body=_body(request, kind),
        delay_s=delay_ms / 1000,
        times=times,
        probability=read_number(request, "probability", 1, 0, 1),
        act=bool(request.get("act", kind in ACTS_FIRST)),
        megabytes=int(read_number(request, "megabytes", 100, 1, 1000)),
        reset=bool(request.get("reset", False)),
    )


def _body(request: dict[str, Any], kind: str) -> bytes:
    if "body_base64" in request:
        return read_base64(request, "body_base64")
    body = request.get("body")
    if body is None:
        return b"\x00\xff<not json>{" if kind == "garbage" else b""
    if isinstance(body, str):
        return body.encode()
    return orjson.dumps(body)
