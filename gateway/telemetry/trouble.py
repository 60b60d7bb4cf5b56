"""Logs why something cannot be used: one line when it begins or the cause changes, and one when it works again.

What fails on every call would fill the log, and what is logged nowhere cannot be repaired. In between, failures are
counted, and the last line says how many there were.
"""

from __future__ import annotations

from gateway.errors import GatewayError
from gateway.telemetry.logs import log, where_raised


class TroubleLog:
    """The log of one thing that may fail: a store, a host, a file. Use it in one thread."""

    __slots__ = ("_address", "_advice", "_cause", "_failures", "_part")

    def __init__(self, part: str, *, address: str = "", advice: str = "") -> None:
        """Begin as working. Args: `part` names the thing, `address` its host or file, `advice` what to do."""
        self._part = part
        self._address = address
        self._advice = advice
        self._cause: tuple[str, str] | None = None
        self._failures = 0

    def failed(self, error: BaseException, *, trouble: str = "", advice: str = "", code: str = "") -> None:
        """Count a failure; log it if the thing worked before, or failed for another cause.

        Args: `trouble`: the cause in words, without a secret; by default what the error says where its text is known to
        be harmless. `code`: the other side's own error code, such as a status or an SQLSTATE.
        """
        self._failures += 1
        found = described(error)
        trouble, code = trouble or found["trouble"], code or found["code"]
        cause = (type(error).__name__, trouble + code)
        if cause == self._cause:
            return
        self._cause = cause
        log().error(
            "not available",
            part=self._part,
            advice=advice or self._advice,
            **{**found, "trouble": trouble, "code": code, "address": self._address or found["address"]},
        )

    def works(self) -> None:
        """Note a success; log it if the thing failed before."""
        if self._cause is None:
            return
        log().info("available again", part=self._part, address=self._address, count=self._failures)
        self._cause, self._failures = None, 0


def described(error: BaseException) -> dict[str, str]:
    """Return the fields of a log line about an error: `trouble`, `code`, `address`, and what `where_raised` returns."""
    address = error.address if isinstance(error, GatewayError) else ""
    return {"trouble": _trouble_of(error), "code": _code_of(error), "address": address, **where_raised(error)}


def _trouble_of(error: BaseException) -> str:
    """Return the cause in words where its class vouches for them: ours for callers, or one with `trouble`."""
    for one in (error, error.__cause__):
        if text := getattr(one, "trouble", ""):
            return str(text)
    if isinstance(error, GatewayError):
        return error.message
    return (error.strerror or "") if isinstance(error, OSError) else ""


def _code_of(error: BaseException) -> str:
    return error.metadata.get("phoenix_status", "") if isinstance(error, GatewayError) else ""
