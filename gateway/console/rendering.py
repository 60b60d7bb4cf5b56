"""Turns a page's values into HTML. Everything is escaped; templates add no script and no style of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.console.plots import line_plot
from gateway.console.visit import Page, Visit
from gateway.v1 import wallet_pb2

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages load."""

    content_type: str
    body: bytes


ASSETS: Mapping[str, Asset] = {
    "style.css": Asset("text/css; charset=utf-8", (_HERE / "static/style.css").read_bytes()),
    "live.js": Asset("text/javascript; charset=utf-8", (_HERE / "static/live.js").read_bytes()),
}


def moment(at: datetime | None) -> str:
    """Return a time for people, in UTC, to the millisecond."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def seconds(value: float | None) -> str:
    """Return a duration for people."""
    if value is None:
        return ""
    if value < 1:
        return f"{value * 1000:.3g} ms"
    if value < 120:
        return f"{value:.3g} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.0f} h"


def _at(time: Timestamp) -> datetime:
    return time.ToDatetime(tzinfo=UTC)


def _state(state: wallet_pb2.WalletOperationState.ValueType) -> str:
    name = wallet_pb2.WalletOperationState.Name(state).removeprefix("WALLET_OPERATION_STATE_")
    return name.lower().replace("_", " ")


_TEMPLATES = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"moment": moment, "seconds": seconds, "at": _at, "state": _state}
_TEMPLATES.globals |= {"line_plot": line_plot}


def render(page: Page, visit: Visit | None) -> bytes:
    """Return the HTML of a page."""
    values: dict[str, Any] = {"visit": visit, **(page.values or {})}
    return _TEMPLATES.get_template(page.template).render(values).encode()
