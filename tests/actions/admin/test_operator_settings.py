"""The guard before trading is disabled, where the proto's own rules are not in front of it."""

from __future__ import annotations

import pytest

from gateway.actions.admin.operator_settings import ManageOperatorSettings
from gateway.actions.shared.call import Call, Peer
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
from gateway.core.operator_api import FeeSchedule
from gateway.errors import InvalidField
from gateway.resilience.deadline import Deadline
from tests.full_grant import FULL_GRANT
from tests.manual_clock import ManualClock

_SCHEDULE = FeeSchedule(shape="flat", taker_coefficient="0.07", maker_rebate_coefficient="0.01")


@pytest.mark.parametrize(("schedule", "confirmed"), [(None, False), (_SCHEDULE, True)])
async def test_clearing_needs_its_confirmation_and_setting_has_none(
    schedule: FeeSchedule | None, confirmed: bool
) -> None:
    """Refused before an operator is even looked for: the directory here is empty."""
    clock = ManualClock()
    operators: OperatorDirectory[OperatorContext] = OperatorDirectory({})
    call = Call(
        method="m",
        peer=Peer(address="x"),
        request_id="r",
        deadline=Deadline.after(5, clock),
        arrived_at=0.0,
        grant=FULL_GRANT,
    )
    with pytest.raises(InvalidField) as error:
        await ManageOperatorSettings(operators, clock).set_fee_schedule(
            operator_code="", environment=None, schedule=schedule, confirm_disable_trading=confirmed, call=call
        )
    assert ["confirm_disable_trading"] == [fault.field for fault in error.value.faults]
