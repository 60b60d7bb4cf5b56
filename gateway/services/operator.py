"""OperatorService: messages to the operator's actions and back."""

from __future__ import annotations

from gateway.actions.admin.operator_settings import ManageOperatorSettings
from gateway.actions.shared.call import Call
from gateway.core.operator_api import Category, FeeSchedule, OperatorSettings
from gateway.services.convert import environment_from_proto, timestamp
from gateway.services.structs import dict_to_struct
from gateway.v1 import operator_pb2


class OperatorService:
    """Serves phoenix.gateway.v1.OperatorService."""

    def __init__(self, operate: ManageOperatorSettings) -> None:
        self._operate = operate

    async def GetOperatorSettings(
        self, request: operator_pb2.GetOperatorSettingsRequest, call: Call
    ) -> operator_pb2.GetOperatorSettingsResponse:
        """Read the settings."""
        settings = await self._operate.settings(
            operator_code=request.operator_code,
            environment=environment_from_proto(request.environment),
            call=call,
        )
        return operator_pb2.GetOperatorSettingsResponse(settings=_settings(settings))

    async def UpdateOperatorSettings(
        self, request: operator_pb2.UpdateOperatorSettingsRequest, call: Call
    ) -> operator_pb2.UpdateOperatorSettingsResponse:
        """Set or clear the fee schedule."""
        settings = await self._operate.set_fee_schedule(
            operator_code=request.operator_code,
            environment=environment_from_proto(request.environment),
            schedule=_schedule(request.fee_schedule) if request.HasField("fee_schedule") else None,
            confirm_disable_trading=request.confirm_disable_trading,
            call=call,
        )
        return operator_pb2.UpdateOperatorSettingsResponse(settings=_settings(settings))

    async def ListCategories(
        self, request: operator_pb2.ListCategoriesRequest, call: Call
    ) -> operator_pb2.ListCategoriesResponse:
        """List a page of the categories."""
        page = await self._operate.categories(
            operator_code=request.operator_code,
            environment=environment_from_proto(request.environment),
            page_size=request.page_size,
            page_token=request.page_token,
            call=call,
        )
        return operator_pb2.ListCategoriesResponse(
            categories=[_category(one) for one in page.categories], next_page_token=page.next_page_token
        )

    async def GetOperatorStats(
        self, request: operator_pb2.GetOperatorStatsRequest, call: Call
    ) -> operator_pb2.GetOperatorStatsResponse:
        """Read the statistics."""
        stats = await self._operate.stats(
            operator_code=request.operator_code,
            environment=environment_from_proto(request.environment),
            call=call,
        )
        return operator_pb2.GetOperatorStatsResponse(
            stats=dict_to_struct(stats.members), read_time=timestamp(stats.read_at)
        )


def _schedule(message: operator_pb2.FeeSchedule) -> FeeSchedule:
    return FeeSchedule(
        shape=message.shape,
        taker_coefficient=message.taker_coefficient,
        maker_rebate_coefficient=message.maker_rebate_coefficient,
    )


def _settings(settings: OperatorSettings) -> operator_pb2.OperatorSettings:
    schedule = settings.fee_schedule
    return operator_pb2.OperatorSettings(
        code=settings.code,
        name=settings.name,
        currencies=[
            operator_pb2.OperatorCurrency(
                code=one.code, min_order_size=one.min_order_size, max_order_size=one.max_order_size
            )
            for one in settings.currencies
        ],
        fee_schedule=None
        if schedule is None
        else operator_pb2.FeeSchedule(
            shape=schedule.shape,
            taker_coefficient=schedule.taker_coefficient,
            maker_rebate_coefficient=schedule.maker_rebate_coefficient,
        ),
        trading_disabled=settings.trading_disabled,
        extra=dict_to_struct(settings.extra) if settings.extra else None,
    )


def _category(category: Category) -> operator_pb2.Category:
    return operator_pb2.Category(
        id=category.id,
        code=category.code,
        slug=category.slug,
        name=category.name,
        display_order=category.display_order,
        status=category.status,
        extra=dict_to_struct(category.extra) if category.extra else None,
    )
