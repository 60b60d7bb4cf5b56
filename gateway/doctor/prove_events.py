"""`doctor --prove-events BOARD`: finds out, with real events, what Phoenix's documentation leaves open.

Whether an `event_id` is taken and deduplicated, whether there is bulk and in which envelope. The settings it prints are
those that were proven; what was not found out is said, and its setting is the one that cannot lose or double anything.
Source: API.md, EventService; gamification.md 2.1, 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.config import BulkEvents, TenantConfig
from gateway.core.wire import BulkEnvelope
from gateway.doctor.event_trials import EventTrials, Sent
from gateway.doctor.report import Finding, Verdict, fault, found, ok, skipped, warning

SEND_ID, DEDUPLICATES, BULK = "PHOENIX_SEND_EVENT_ID", "PHOENIX_DEDUPLICATES_EVENTS", "PHOENIX_BULK_EVENTS"
_TRIES = 3
"""A board that was just made may not be known to the scoring yet: so many events are sent before giving up."""

OnStep = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Proof:
    """What was found, and the settings that follow; `settings` is empty where no event could be watched."""

    board_id: str
    findings: list[Finding] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, verdict: Verdict) -> Verdict:
        """Keep what a step found."""
        self.findings.append(found(name, self.board_id, verdict))
        return verdict


async def prove_events(proof: Proof, trials: EventTrials, config: TenantConfig, on_step: OnStep) -> None:
    """Run the trials, one after the other, on a board that was prepared; everything found goes into `proof`."""
    on_step("an event with an event_id")
    with_id, reached = await _first_event(proof, trials)
    if not reached:
        return
    deduplicates: bool | None = False
    if with_id:
        on_step("the same event twice")
        deduplicates = await _twice(proof, trials)
    else:
        proof.add("deduplication", skipped("Phoenix refuses event_id, so it has nothing to go by"))
    on_step("events in bulk")
    bulk, sure_of_bulk = await _bulk(proof, trials, config, with_id=with_id)
    if bulk is not None and deduplicates:
        on_step("the same bulk call twice")
        deduplicates = await _bulk_twice(proof, trials, bulk)
    proof.settings = {
        SEND_ID: "true" if with_id else "false",
        DEDUPLICATES: "true" if deduplicates else "false",
        BULK: bulk or "off",
    }
    proof.add("settings", _compare(config, proof.settings, deduplicates, sure_of_bulk=sure_of_bulk))
    proof.add(
        "limits",
        ok(
            "not found out: for how long Phoenix remembers an event_id (its documentation says 300 s), and what "
            "becomes of a bulk call of which one event is refused",
            "the trial users stay on the board; archive it at Phoenix when you are done",
        ),
    )


async def _first_event(proof: Proof, trials: EventTrials) -> tuple[bool, bool]:
    """Get one event counted; return whether it may carry an id, and whether any event was counted."""
    for with_id in (True, False):
        user_id = trials.new_user()
        sent = await trials.send(trials.event(user_id, with_id=with_id))
        if sent.status in (400, 422) and with_id:
            proof.add("event-id", warning(f"an event with event_id is refused ({sent.said})", f"set {SEND_ID}=false"))
            continue
        took_s = await _wait_or_send_again(trials, user_id, sent, with_id=with_id)
        if took_s is not None:
            proof.add("event", ok(f"accepted ({sent.said}), counted {took_s:.1f} s later"))
            return with_id, True
        proof.add("event", _no_event(sent))
        return with_id, False
    raise AssertionError("unreachable: the event without an id ends the loop")


async def _wait_or_send_again(trials: EventTrials, user_id: str, sent: Sent, *, with_id: bool) -> float | None:
    """Wait for the first score, with another event now and then; return how long the last one took."""
    for left in reversed(range(_TRIES)):
        if not _may_count(sent):
            return None
        took_s = await trials.wait_for(user_id, 1, share=1 / _TRIES)
        if took_s is not None or left == 0:
            return took_s
        sent = await trials.send(trials.event(user_id, with_id=with_id))
    return None


def _may_count(sent: Sent) -> bool:
    return sent.taken or sent.status is None or sent.status >= 500


def _no_event(sent: Sent) -> Verdict:
    if sent.taken:
        return fault(
            f"accepted ({sent.said}), but no score was seen: nothing can be found out",
            "look at the board's status and timeframe at Phoenix, and whether doctor can read boards",
        )
    if sent.status in (401, 403):
        return fault(f"refused ({sent.said})", "see phoenix-gateway doctor: the lines hmac and clock")
    return fault(f"not accepted ({sent.said}): nothing can be found out", "see phoenix-gateway doctor; try again")


async def _twice(proof: Proof, trials: EventTrials) -> bool | None:
    """Send one event twice; return whether it counted once, None where that could not be found out."""
    user_id = trials.new_user()
    event = trials.event(user_id)
    first = await trials.send(event)
    arrived = await trials.wait_for(user_id, 1)
    if arrived is None:
        proof.add("deduplication", _unsure(f"the first event ({first.said}) did not show in time"))
        return None
    again = await trials.send(event)
    (count,) = await trials.counted([user_id])
    return _judge_repeat(proof, "deduplication", "the same event", again, [count])


async def _bulk_twice(proof: Proof, trials: EventTrials, envelope: BulkEnvelope) -> bool | None:
    """Send one bulk call twice; return as `_twice`."""
    user_ids = [trials.new_user(), trials.new_user()]
    events = [trials.event(user_id) for user_id in user_ids]
    first = await trials.send_bulk(events, envelope)
    if None in await trials.wait_for_all(user_ids, 1):
        proof.add("bulk-deduplication", _unsure(f"the first call ({first.said}) did not show in time"))
        return None
    again = await trials.send_bulk(events, envelope)
    counts = await trials.counted(user_ids)
    return _judge_repeat(proof, "bulk-deduplication", "the same bulk call", again, counts)


def _judge_repeat(proof: Proof, name: str, thing: str, again: Sent, counts: list[int | None]) -> bool | None:
    if any(count is not None and count > 1 for count in counts):
        proof.add(name, ok(f"{thing} counts each time ({again.said}): a lost answer must not be sent again"))
        return False
    if any(count != 1 for count in counts):
        proof.add(name, _unsure("the scores are none that these events make, or came too late"))
        return None
    if again.taken or again.status == 409:
        proof.add(name, ok(f"{thing} counts once; sent again it is answered {again.said}"))
        return True
    if again.status is None or again.status >= 500 or again.status in (401, 403, 408, 429):
        proof.add(name, _unsure(f"sent again it was not answered as an event ({again.said})"))
        return None
    what = (
        f"{thing} counts once, but sent again it is refused ({again.said}), which cannot be told from another refusal"
    )
    proof.add(name, warning(what, f"leave {DEDUPLICATES}=false, and ask Phoenix about this answer"))
    return False


async def _bulk(
    proof: Proof, trials: EventTrials, config: TenantConfig, *, with_id: bool
) -> tuple[BulkEnvelope | None, bool]:
    """Try the envelopes, the configured one first; return the one that counts, and whether that is certain."""
    envelopes: list[BulkEnvelope] = ["events", "array"]
    if config.bulk_events is BulkEvents.ARRAY:
        envelopes.reverse()
    refusals: list[str] = []
    for envelope in envelopes:
        user_ids = [trials.new_user(), trials.new_user()]
        sent = await trials.send_bulk([trials.event(user_id, with_id=with_id) for user_id in user_ids], envelope)
        if sent.status in (404, 405, 501):
            proof.add("bulk", ok(f"there is none ({sent.said}): events go out one by one"))
            return None, True
        if sent.status is None or sent.status in (401, 403, 408, 413, 429) or sent.status >= 500:
            proof.add("bulk", _unsure(f"the envelope {envelope} was not answered as such ({sent.said})"))
            return None, False
        if not sent.taken:
            refusals.append(f"{envelope}: {sent.said}")
            continue
        seen = await trials.wait_for_all(user_ids, 1)
        if None not in seen:
            also = f"; refused: {', '.join(refusals)}" if refusals else ""
            proof.add("bulk", ok(f"taken in the envelope {envelope} ({sent.said}), both events counted{also}"))
            return envelope, True
        if any(took_s is not None for took_s in seen):
            proof.add("bulk", _unsure(f"of two events in the envelope {envelope} ({sent.said}) one counted in time"))
            return None, False
        refusals.append(f"{envelope}: {sent.said}, but nothing counted")
    proof.add("bulk", ok(f"neither envelope is taken ({'; '.join(refusals)}): events go out one by one"))
    return None, True


def _unsure(what: str) -> Verdict:
    return warning(f"could not be found out: {what}", "run this again; until then the setting stays the safe one")


def _compare(config: TenantConfig, proven: dict[str, str], deduplicates: bool | None, *, sure_of_bulk: bool) -> Verdict:
    """Hold what is configured now against what was proven: a fault where events can be lost, doubled or refused."""
    now = {
        SEND_ID: "true" if config.events.sends_event_id else "false",
        DEDUPLICATES: "true" if config.events.deduplicates else "false",
        BULK: config.bulk_events.value,
    }
    change = [f"{name}={proven[name]}" for name in proven if proven[name] != now[name]]
    if not change:
        return ok("as configured")
    fix = f"set {', '.join(change)}"
    if config.events.deduplicates and deduplicates is False:
        return fault(f"{DEDUPLICATES} is true here, and Phoenix counts a repeated event again", fix)
    if config.events.sends_event_id and proven[SEND_ID] == "false":
        return fault(f"{SEND_ID} is true here, and Phoenix refuses such events", fix)
    if config.bulk_events is not BulkEvents.OFF and sure_of_bulk and proven[BULK] != now[BULK]:
        return fault(f"{BULK} is {now[BULK]} here, and Phoenix does not take that", fix)
    if (config.events.deduplicates and deduplicates is None) or not sure_of_bulk:
        return warning("what is configured could not be proven", fix)
    return ok("proven, and other than configured", fix)
