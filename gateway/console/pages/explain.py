"""*Explain*: what happened to a call, a webhook, an event or an operation, from any id."""

from __future__ import annotations

from typing import Any

from gateway.console.visit import Page, Visit
from gateway.core.story_text import blocks_of, form_of, id_in, is_found, other_spelling, searched_lines

MAX_ID_CHARS = 256


async def show(visit: Visit) -> Page:
    """Show the form, and the story of the id that was given."""
    wanted = id_in(visit.field("id"))
    values: dict[str, Any] = {"wanted": wanted, "faults": [], "blocks": [], "searched": [], "form": ""}
    if not wanted:
        return Page(template="explain.html", values=values)
    if len(wanted) > MAX_ID_CHARS:
        faults = [f"id: give one id of at most {MAX_ID_CHARS} characters."]
        return Page(template="explain.html", values=values | {"faults": faults, "wanted": wanted[:64]}, status=400)
    report = await visit.sources.explain(wanted)
    if not is_found(report) and (other := other_spelling(wanted)):
        report = await visit.sources.explain(other)
    now_s = visit.now.timestamp()
    values |= {
        "blocks": list(blocks_of(report, now_s)) if is_found(report) else [],
        "searched": list(searched_lines(report)),
        "form": form_of(wanted),
    }
    return Page(template="explain.html", values=values, status=200 if is_found(report) else 404)
