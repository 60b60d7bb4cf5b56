"""`doctor --prove-events BOARD`: finds out with real events what Phoenix's documentation leaves open.

Does Phoenix accept and deduplicate an `event_id`? Does it accept bulk calls, and in which envelope? The report prints
the settings that the trials proved. Where a trial proved nothing, it says so and prints the setting that can neither
lose nor repeat an event. Source: gamification.md 2.1, 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.config import BulkEvents, TenantConfig
from gateway.core.wire import BulkEnvelope
from gateway.doctor.event_trials import EventTrials, Sent
from gateway.doctor.report import Finding, Result, fault, finding_of, ok, skipped, warning

SEND_ID, DEDUPLICATES, BULK = "PHOENIX_SEND_EVENT_ID", "PHOENIX_DEDUPLICATES_EVENTS", "PHOENIX_BULK_EVENTS"
_TRIES = 3
"""How many events to send before giving up: Phoenix's scoring may not see a new board at once."""

OnStep = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class TrialReport:
    """The findings, and the settings that follow from them; `settings` is empty if no event counted."""

    board_id: str
    findings: list[Finding] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, result: Result) -> Result:
        """Keep the result of one step."""
        self.findings.append(finding_of(name, self.board_id, result))
        return result


async def prove_events(report: TrialReport, trials: EventTrials, config: TenantConfig, on_step: OnStep) -> None:
    """Run the trials one after another on a prepared board, and put the results into `report`."""
    on_step("an event with an event_id")
    with_id, reached = await _first_event(report, trials)
    if not reached:
        return
    deduplicates: bool | None = False
    if with_id:
        on_step("the same event twice")
        deduplicates = await _twice(report, trials)
    else:
        report.add("deduplication", skipped("Phoenix refuses event_id, so it cannot deduplicate"))
    on_step("events in bulk")
    bulk, is_bulk_certain = await _bulk(report, trials, config, with_id=with_id)
    if bulk is not None and deduplicates:
        on_step("the same bulk call twice")
        deduplicates = await _bulk_twice(report, trials, bulk)
    report.settings = {
        SEND_ID: "true" if with_id else "false",
        DEDUPLICATES: "true" if deduplicates else "false",
        BULK: bulk or "off",
    }
    report.add("settings", _compare(config, report.settings, deduplicates, is_bulk_certain=is_bulk_certain))
    report.add(
        "limits",
        ok(
            "not tested: how long Phoenix remembers an event_id (its documentation says 300 s), and what it does with "
            "a bulk call when it refuses one event of it",
            "the trial users stay on the board; archive the board at Phoenix when you are done",
        ),
    )


async def _first_event(report: TrialReport, trials: EventTrials) -> tuple[bool, bool]:
    """Send events until one counts; return whether it may carry an id, and whether any event counted."""
    for with_id in (True, False):
        user_id = trials.new_user()
        sent = await trials.send(trials.event(user_id, with_id=with_id))
        if sent.status in (400, 422) and with_id:
            report.add(
                "event-id", warning(f"Phoenix refuses an event with event_id ({sent.text})", f"set {SEND_ID}=false")
            )
            continue
        took_s = await _wait_or_send_again(trials, user_id, sent, with_id=with_id)
        if took_s is not None:
            report.add("event", ok(f"accepted ({sent.text}), counted {took_s:.1f} s later"))
            return with_id, True
        report.add("event", _no_event(sent))
        return with_id, False
    raise AssertionError("unreachable: the event without an id ends the loop")


async def _wait_or_send_again(trials: EventTrials, user_id: str, sent: Sent, *, with_id: bool) -> float | None:
    """Wait for the first score, and send another event from time to time; return how long the last one took."""
    for left in reversed(range(_TRIES)):
        if not _may_count(sent):
            return None
        took_s = await trials.wait_for(user_id, 1, share=1 / _TRIES)
        if took_s is not None or left == 0:
            return took_s
        sent = await trials.send(trials.event(user_id, with_id=with_id))
    return None


def _may_count(sent: Sent) -> bool:
    return sent.accepted or sent.status is None or sent.status >= 500


def _no_event(sent: Sent) -> Result:
    if sent.accepted:
        return fault(
            f"accepted ({sent.text}), but no score appeared: the trials prove nothing",
            "check the board's status and timeframe at Phoenix, and whether the doctor can read boards",
        )
    if sent.status in (401, 403):
        return fault(f"refused ({sent.text})", "see phoenix-gateway doctor: the lines hmac and clock")
    return fault(f"not accepted ({sent.text}): the trials prove nothing", "see phoenix-gateway doctor, then try again")


async def _twice(report: TrialReport, trials: EventTrials) -> bool | None:
    """Send one event twice; return whether it counted once, or None if the trial did not show it."""
    user_id = trials.new_user()
    event = trials.event(user_id)
    first = await trials.send(event)
    arrived = await trials.wait_for(user_id, 1)
    if arrived is None:
        report.add("deduplication", _unsure(f"the first event ({first.text}) did not count in time"))
        return None
    again = await trials.send(event)
    (count,) = await trials.counted([user_id])
    return _judge_repeat(report, "deduplication", "the same event", again, [count])


async def _bulk_twice(report: TrialReport, trials: EventTrials, envelope: BulkEnvelope) -> bool | None:
    """Send one bulk call twice; returns the same as `_twice`."""
    user_ids = [trials.new_user(), trials.new_user()]
    events = [trials.event(user_id) for user_id in user_ids]
    first = await trials.send_bulk(events, envelope)
    if None in await trials.wait_for_all(user_ids, 1):
        report.add("bulk-deduplication", _unsure(f"the first call ({first.text}) did not count in time"))
        return None
    again = await trials.send_bulk(events, envelope)
    counts = await trials.counted(user_ids)
    return _judge_repeat(report, "bulk-deduplication", "the same bulk call", again, counts)


def _judge_repeat(report: TrialReport, name: str, thing: str, again: Sent, counts: list[int | None]) -> bool | None:
    if any(count is not None and count > 1 for count in counts):
        report.add(
            name, ok(f"{thing} counts each time ({again.text}): the gateway must not send it again after a lost answer")
        )
        return False
    if any(count != 1 for count in counts):
        report.add(name, _unsure("these events do not add up to the scores, or the scores came too late"))
        return None
    if again.accepted or again.status == 409:
        report.add(name, ok(f"{thing} counts once; the second time Phoenix answered {again.text}"))
        return True
    if again.status is None or again.status >= 500 or again.status in (401, 403, 408, 429):
        report.add(name, _unsure(f"the answer to the second time says nothing about the event ({again.text})"))
        return None
    what = f"{thing} counts once, but Phoenix refuses it the second time ({again.text}), as it would refuse a bad event"
    report.add(name, warning(what, f"leave {DEDUPLICATES}=false, and ask Phoenix about this answer"))
    return False


async def _bulk(
    report: TrialReport, trials: EventTrials, config: TenantConfig, *, with_id: bool
) -> tuple[BulkEnvelope | None, bool]:
    """Try the envelopes, the configured one first; return the one that works, and whether that is certain."""
    envelopes: list[BulkEnvelope] = ["events", "array"]
    if config.bulk_events is BulkEvents.ARRAY:
        envelopes.reverse()
    refusals: list[str] = []
    for envelope in envelopes:
        user_ids = [trials.new_user(), trials.new_user()]
        sent = await trials.send_bulk([trials.event(user_id, with_id=with_id) for user_id in user_ids], envelope)
        if sent.status in (404, 405, 501):
            report.add("bulk", ok(f"Phoenix has no bulk route ({sent.text}): the gateway sends events one by one"))
            return None, True
        if sent.status is None or sent.status in (401, 403, 408, 413, 429) or sent.status >= 500:
            report.add("bulk", _unsure(f"the answer says nothing about the envelope {envelope} ({sent.text})"))
            return None, False
        if not sent.accepted:
            refusals.append(f"{envelope}: {sent.text}")
            continue
        seen = await trials.wait_for_all(user_ids, 1)
        if None not in seen:
            also = f"; refused: {', '.join(refusals)}" if refusals else ""
            report.add("bulk", ok(f"accepted in the envelope {envelope} ({sent.text}), and both events counted{also}"))
            return envelope, True
        if any(took_s is not None for took_s in seen):
            report.add(
                "bulk", _unsure(f"only one of two events in the envelope {envelope} ({sent.text}) counted in time")
            )
            return None, False
        refusals.append(f"{envelope}: {sent.text}, but nothing counted")
    report.add(
        "bulk", ok(f"Phoenix accepts neither envelope ({'; '.join(refusals)}): the gateway sends events one by one")
    )
    return None, True


def _unsure(what: str) -> Result:
    return warning(f"not proven: {what}", "run this again; until then keep the safe setting")


def _compare(
    config: TenantConfig, proven: dict[str, str], deduplicates: bool | None, *, is_bulk_certain: bool
) -> Result:
    """Compare the configuration with what was proven; a fault if events can be lost, counted twice or refused."""
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
        return fault(f"{DEDUPLICATES} is true, but Phoenix counts a repeated event again", fix)
    if config.events.sends_event_id and proven[SEND_ID] == "false":
        return fault(f"{SEND_ID} is true, but Phoenix refuses such events", fix)
    if config.bulk_events is not BulkEvents.OFF and is_bulk_certain and proven[BULK] != now[BULK]:
        return fault(f"{BULK} is {now[BULK]}, but Phoenix does not accept that", fix)
    if (config.events.deduplicates and deduplicates is None) or not is_bulk_certain:
        return warning("the trials did not prove the configured settings", fix)
    return ok("the proven settings differ from the configured ones", fix)
