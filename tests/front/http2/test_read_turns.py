"""Who is read in which turn, and who is not read for a while because all together bring too much."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from gateway.front.http2.read_turns import ReadTurns
from tests.manual_clock import ManualClock

SHARE_S = 0.001


class Reading:
    """Connections that take `cost_s` to read each, and what was read in which order."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.turns = ReadTurns(self.clock.monotonic, self.need_turn, lambda: self.runs_low, SHARE_S, self.count_parked)
        self.runs_low = False
        self.asked = self.counted = 0
        self.order: list[str] = []

    def need_turn(self) -> None:
        """Count that a turn is needed."""
        self.asked += 1

    def count_parked(self) -> None:
        """Count a parked connection."""
        self.counted += 1

    def connection(self, name: str, cost_s: float = 0.0) -> Callable[[], bool]:
        """Return how a connection goes on; one without a name has gone."""

        def read_on() -> bool:
            if name:
                self.order.append(name)
                self.turns.note(cost_s)
            return bool(name)

        return read_on

    def turn(self, *, overloaded: bool = True, runs_low: bool = False, after_s: float = 0.001) -> list[str]:
        """Read for one turn; return who was read."""
        self.clock.advance(after_s)
        self.order.clear()
        self.runs_low = runs_low
        self.turns.read(self.clock.monotonic(), SHARE_S, is_overloaded=overloaded)
        return list(self.order)

    def parks(self, *, is_late: bool = True) -> bool:
        """Whether a connection with more to read is parked now."""
        return self.turns.parks(self.clock.monotonic(), is_late=is_late)


@pytest.fixture
async def reading() -> AsyncIterator[Reading]:
    """Nobody waits."""
    made = Reading()
    yield made
    made.turns.stop()


def waits(reading: Reading, *names: str, cost_s: float = 0.0) -> None:
    """Let connections wait that have more to read."""
    for name in names:
        reading.turns.later(reading.connection(name, cost_s))


def parked(reading: Reading, *names: str) -> None:
    """Park connections, one in the time that it takes."""
    for name in names:
        reading.clock.advance(0.011)
        assert reading.parks()
        reading.turns.park(reading.connection(name))


async def test_what_a_turn_took_beyond_its_share_counts_in_the_next(reading: Reading) -> None:
    """At most one turn is left out for it."""
    waits(reading, "long", "a", "b", cost_s=5 * SHARE_S)
    assert [["long"], [], ["a"], [], ["b"]] == [reading.turn() for _ in range(5)]


async def test_who_was_refused_is_read_seldom_but_before_those_with_much_to_read(reading: Reading) -> None:
    """After 6 ms, or once few calls wait."""
    waits(reading, "a")
    reading.turns.after_refusal(reading.connection("refused"))
    assert ["a"] == reading.turn()
    assert [] == reading.turn()
    waits(reading, "b")
    assert ["refused", "b"] == reading.turn(after_s=0.005)
    reading.turns.after_refusal(reading.connection("refused"))
    assert ["refused"] == reading.turn(runs_low=True)


async def test_a_connection_is_parked_under_overload_if_it_is_late_and_another_one_is_read(reading: Reading) -> None:
    """One in 10 ms, and never the last one."""
    reading.clock.advance(1.0)
    reading.turn()
    assert not reading.parks()
    waits(reading, "other", cost_s=SHARE_S)
    assert not reading.parks(is_late=False)
    assert reading.parks()
    assert not reading.parks()
    reading.clock.advance(0.011)
    assert reading.parks()
    reading.turn(overloaded=False)
    waits(reading, "other")
    reading.clock.advance(0.011)
    assert not reading.parks()


async def test_a_parked_connection_comes_back_when_there_is_time(reading: Reading) -> None:
    """One in a turn: when nobody else is to be read and few calls wait, or the overload is over."""
    for calm in ({"runs_low": True}, {"overloaded": False}):
        reading.turn()
        waits(reading, "other", cost_s=2 * SHARE_S)
        parked(reading, "first", "second")
        assert reading.turns.has_parked
        assert reading.counted in (2, 4)
        waits(reading, "another", cost_s=2 * SHARE_S)
        assert [["other"], [], ["another"], []] == [reading.turn(runs_low=True) for _ in range(4)]
        assert ["first"] == reading.turn(**calm)
        assert ["second"] == reading.turn(**calm)
        assert not reading.turns.has_parked


async def test_a_parked_connection_that_has_gone_takes_nobodys_place(reading: Reading) -> None:
    """The next one comes back; after the last one, nobody is parked for it."""
    reading.turn()
    waits(reading, "other")
    parked(reading, "", "second", "")
    reading.turn()
    assert ["second"] == reading.turn(after_s=11.0)
    waits(reading, "other")
    assert reading.parks(is_late=False)
    reading.turns.park(reading.connection(""))
    reading.turn(after_s=31.0)
    assert not reading.turns.has_parked
    waits(reading, "other")
    assert not reading.parks(is_late=False)


async def test_a_place_is_owed_only_during_the_overload(reading: Reading) -> None:
    """The next overload begins with nobody parked."""
    reading.turn()
    waits(reading, "other")
    parked(reading, "first")
    reading.turn()
    assert ["first"] == reading.turn(after_s=31.0)
    reading.turn(overloaded=False)
    reading.turn()
    waits(reading, "other")
    assert not reading.parks(is_late=False)


async def test_nobody_comes_back_while_others_catch_up(reading: Reading) -> None:
    """One after the other: what several bring at once would be older still."""
    reading.turn()
    waits(reading, "other")
    parked(reading, "parked")
    for name in ("late", "later"):
        reading.turns.catch_up(reading.connection(name))
    assert ["other", "late"] == reading.turn(runs_low=True)
    assert ["later", "parked"] == reading.turn(runs_low=True)


async def test_parked_connections_take_turns(reading: Reading) -> None:
    """Each comes back within 30 s, although there is no time for it, and another one is parked that is not late."""
    reading.turn()
    waits(reading, "other")
    parked(reading, "first", "second", "third")
    back_after = dict[str, float]()
    for step in range(400):
        waits(reading, "other")
        for name in reading.turn(after_s=0.1):
            if name != "other":
                back_after[name] = step * 0.1
                waits(reading, "other")
                assert reading.parks(is_late=False)
                assert not reading.parks(is_late=False)
                reading.turns.park(reading.connection("other"))
        if len(back_after) == 3:
            break
    assert ["first", "second", "third"] == list(back_after)
    assert all(seconds <= 30 for seconds in back_after.values())
    assert back_after["first"] > 9


async def test_who_has_come_back_and_is_behind_is_read_last_but_is_read(reading: Reading) -> None:
    """One of them in a turn with time for it, and in one of four without."""
    for name in ("late", "later"):
        reading.turns.catch_up(reading.connection(name))
    waits(reading, "a")
    assert ["a", "late"] == reading.turn()
    waits(reading, *"bcdefgh", cost_s=SHARE_S)
    turns = [reading.turn() for _ in range(7)]
    assert 1 == sum("later" in one for one in turns)
    assert "bcdefgh" == "".join(name for one in turns for name in one if name != "later")


async def test_turns_are_asked_for_while_somebody_waits(reading: Reading) -> None:
    """At once where there is something to read; by a timer for who is refused or parked."""
    waits(reading, "a", "b", cost_s=SHARE_S)
    reading.asked = 0
    reading.turn()
    assert reading.asked
    reading.turn()
    reading.turn()
    reading.asked = 0
    reading.turn()
    assert 0 == reading.asked
