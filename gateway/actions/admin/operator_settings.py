"""Read and change an operator's data at Phoenix: settings, fee schedule, categories, statistics.

The client signs and retries. Clearing the fee schedule needs a confirmation, which the request's validation checks, and
this module again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
from gateway.actions.shared.page_token import PageToken, decode_page_token, encode_page_token
from gateway.core.operator_api import Category, FeeSchedule, OperatorSettings
from gateway.core.types import Environment
from gateway.errors import FieldFault, InvalidField
from gateway.resilience.clock import Clock

MAX_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryPage:
    """Categories in Phoenix's order. `next_page_token` is "" on the last page."""

    categories: tuple[Category, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The statistics and when they were read (Unix seconds)."""

    members: dict[str, Any]
    read_at: float


class ManageOperatorSettings:
    """The actions behind OperatorService."""

    def __init__(self, operators: OperatorDirectory[OperatorContext], clock: Clock) -> None:
        self._operators = operators
        self._clock = clock

    async def settings(self, *, operator_code: str, environment: Environment | None, call: Call) -> OperatorSettings:
        """Read the settings. Raises: OperatorUnknown, KeyUnknown, UpstreamFault."""
        context = self._operators.resolve(operator_code, environment, call)
        return await context.operator_api.settings(call.deadline)

    async def set_fee_schedule(
        self,
        *,
        operator_code: str,
        environment: Environment | None,
        schedule: FeeSchedule | None,
        confirm_disable_trading: bool,
        call: Call,
    ) -> OperatorSettings:
        """Set the fee schedule, or clear it if that is confirmed.

        Raises: InvalidField if clearing is not confirmed, or is confirmed together with a schedule; OperatorUnknown,
        KeyUnknown, UpstreamFault.
        """
        if confirm_disable_trading is (schedule is not None):
            description = "must be true to clear the fee schedule, which disables trading, and false to set one"
            raise InvalidField([FieldFault(field="confirm_disable_trading", description=description)])
        context = self._operators.resolve(operator_code, environment, call)
        call.record.kind = "clear_fee_schedule" if schedule is None else "set_fee_schedule"
        return await context.operator_api.set_fee_schedule(schedule, call.deadline)

    async def categories(
        self,
        *,
        operator_code: str,
        environment: Environment | None,
        page_size: int,
        page_token: str,
        call: Call,
    ) -> CategoryPage:
        """Return a page of the active categories. Raises: InvalidField, OperatorUnknown, KeyUnknown, UpstreamFault."""
        context = self._operators.resolve(operator_code, environment, call)
        of = f"ListCategories {context.operator_code} {context.environment.value}"
        offset = decode_page_token(page_token, of=of, tenant_id="").offset if page_token else 0
        found = await context.operator_api.categories(call.deadline)
        end = offset + (page_size or MAX_PAGE_SIZE)
        return CategoryPage(
            categories=found[offset:end],
            next_page_token="" if end >= len(found) else encode_page_token(PageToken(of=of, tenant_id="", offset=end)),
        )

    async def stats(self, *, operator_code: str, environment: Environment | None, call: Call) -> Stats:
        """Read the statistics. Raises: OperatorUnknown, KeyUnknown, UpstreamFault."""
        context = self._operators.resolve(operator_code, environment, call)
        members = await context.operator_api.stats(call.deadline)
        return Stats(members=members, read_at=self._clock.now())
