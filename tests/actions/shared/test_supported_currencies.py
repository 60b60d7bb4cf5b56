"""Supported currencies: only a fresh list refuses a token. If Phoenix fails, the token is minted after a short wait."""

from __future__ import annotations

import asyncio

from gateway.actions.shared.supported_currencies import CurrencySettings, SupportedCurrencies
from gateway.errors import PhoenixUnavailable
from gateway.resilience.deadline import Deadline
from tests.manual_clock import ManualClock

_EUR = frozenset({"EUR"})


class Phoenix:
    """Answers with its list, fails without one, or hangs; counts."""

    def __init__(self, known: frozenset[str] | None) -> None:
        self.known = known
        self.asked = 0
        self.hangs = False

    async def __call__(self, deadline: Deadline) -> frozenset[str]:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.known is None:
            raise PhoenixUnavailable
        return self.known


class Case:
    """A currency list, a fake Phoenix and a manual clock."""

    def __init__(self, known: frozenset[str] | None, **settings: float) -> None:
        self.clock = ManualClock()
        self.phoenix = Phoenix(known)
        self.currencies = SupportedCurrencies(self.phoenix, self.clock, CurrencySettings(**settings))

    async def refused(self, currency: str) -> frozenset[str] | None:
        return await self.currencies.refused(currency, Deadline.after(60, self.clock))


async def test_the_first_question_asks_phoenix() -> None:
    """A listed currency passes, any other is refused with the list. A fresh list is not fetched again."""
    case = Case(_EUR)
    assert [None, _EUR, _EUR] == [await case.refused(one) for one in ("EUR", "XTS", "USD")]
    assert 1 == case.phoenix.asked


async def test_a_currency_that_phoenix_has_added_passes() -> None:
    """An older list refuses no token: it is fetched again first."""
    case = Case(_EUR)
    await case.refused("EUR")
    case.phoenix.known = frozenset({"EUR", "USD"})
    case.clock.advance(11)
    assert None is await case.refused("USD")


async def test_an_older_list_does_not_refuse_when_phoenix_is_down() -> None:
    """The currency may have been added."""
    case = Case(_EUR)
    await case.refused("EUR")
    case.phoenix.known = None
    case.clock.advance(11)
    assert [None, None] == [await case.refused("USD"), await case.refused("EUR")]


async def test_with_phoenix_down_all_pass_and_it_is_asked_once_a_minute() -> None:
    """Then only the form was checked."""
    case = Case(None)
    assert [None] * 5 == [await case.refused("XTS") for _ in range(5)]
    assert 1 == case.phoenix.asked
    case.clock.advance(61)
    case.phoenix.known = _EUR
    assert _EUR == await case.refused("XTS")


async def test_an_empty_list_says_nothing() -> None:
    """An operator without any currency could not play at all."""
    case = Case(frozenset())
    assert None is await case.refused("EUR")


async def test_a_hanging_phoenix_keeps_a_mint_no_longer_than_half_a_second() -> None:
    """Whoever comes later does not wait for the same fetch again."""
    case = Case(_EUR, wait_s=0.05)
    case.phoenix.hangs = True
    async with asyncio.timeout(5):
        assert None is await case.refused("XTS")
        case.clock.advance(0.05)
        began = asyncio.get_running_loop().time()
        assert [None] * 100 == [await case.refused("XTS") for _ in range(100)]
        assert asyncio.get_running_loop().time() - began < 1
    assert 1 == case.phoenix.asked
    await case.currencies.stop()


async def test_many_at_once_share_one_fetch() -> None:
    """A thousand mints at a cold start ask once."""
    case = Case(_EUR)
    reported = await asyncio.gather(*[case.refused("XTS") for _ in range(1000)])
    assert ({_EUR}, 1) == (set(reported), case.phoenix.asked)


async def test_an_old_list_is_fetched_again_behind_a_mint_that_passes() -> None:
    """The mint does not wait."""
    case = Case(_EUR)
    await case.refused("EUR")
    case.clock.advance(301)
    case.phoenix.hangs = True
    assert None is await case.refused("EUR")
    await asyncio.sleep(0)
    assert 2 == case.phoenix.asked
    await case.currencies.stop()
