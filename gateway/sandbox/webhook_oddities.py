"""What a proxy between Phoenix and a wallet may do to the unsigned parts of a webhook: headers and path.

All but the two that make different copies leave the call genuine: a wallet must not refuse it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.sandbox.control_input import InvalidControlRequest


class Unsigned(Protocol):
    """The unsigned parts of a webhook."""

    path: str
    headers: list[tuple[str, str]]


def _repeat(name: str, changed: Callable[[str], str] = lambda value: value) -> Callable[[Unsigned], None]:
    def apply(call: Unsigned) -> None:
        call.headers += [(name, changed(value)) for held, value in call.headers if held == name]

    return apply


def _change(name: str, changed: Callable[[str], str]) -> Callable[[Unsigned], None]:
    def apply(call: Unsigned) -> None:
        call.headers = [(held, changed(value) if held == name else value) for held, value in call.headers]

    return apply


def _add(headers: list[tuple[str, str]]) -> Callable[[Unsigned], None]:
    def apply(call: Unsigned) -> None:
        call.headers += headers

    return apply


def _path(changed: Callable[[str], str]) -> Callable[[Unsigned], None]:
    def apply(call: Unsigned) -> None:
        call.path = changed(call.path)

    return apply


ODDITIES: dict[str, Callable[[Unsigned], None]] = {
    "repeated_signature": _repeat("signature"),
    "repeated_key": _repeat("idempotency-key"),
    "different_signatures": _repeat("signature", lambda value: value[1:] + value[0]),
    "different_keys": _repeat("idempotency-key", lambda value: value + "-2"),
    "folded_signature": _change("signature", lambda value: f"{value}, {value}"),
    "folded_key": _change("idempotency-key", lambda value: f"{value},{value}"),
    "blanks": _change("signature", lambda value: f"{value} \t"),
    "long_header": _add([("cookie", "c" * 9000)]),
    "many_headers": _add([(f"x-hop-{number}", "1") for number in range(201)]),
    "not_ascii": _add([("x-name", "J\u00f6rg")]),
    "trailing_slash": _path(lambda path: path + "/"),
    "double_slash": _path(lambda path: path.replace("/wallet/", "/wallet//")),
    "dot_segment": _path(lambda path: path.replace("/wallet/", "/wallet/./")),
    "long_query": _path(lambda path: f"{path}?trace={'q' * 2100}"),
}


def apply_oddities(call: Unsigned, names: object) -> None:
    """Change the call in place. Raises InvalidControlRequest."""
    if not isinstance(names, list) or not all(isinstance(name, str) and name in ODDITIES for name in names):
        raise InvalidControlRequest(f"oddities: must be a list of {', '.join(ODDITIES)}")
    for name in names:
        ODDITIES[name](call)
