"""grpc.health.v1.Health as a handler like any other: live per service, through the same chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, Protocol

from grpc_health.v1 import health_pb2

from gateway.actions.shared.call import Call
from gateway.errors import PhoenixNotFound, Stopping


class HealthState(Protocol):
    """What this servicer needs of whoever knows the state."""

    def is_serving(self, service: str) -> bool | None:
        """Whether the service serves now; None for one that does not exist. "" is the replica: whether it is ready."""
        ...

    @property
    def ends_streams(self) -> bool:
        """Whether the process accepts no more, so that streams have to end."""
        ...

    def services(self) -> Iterable[str]:
        """The names of all services, "" not among them."""
        ...

    def changed(self) -> Coroutine[Any, Any, object]:
        """Return what waits for the next change of anything after this call, also if it is awaited later."""
        ...


class HealthService:
    """Answers load balancers and people."""

    def __init__(self, state: HealthState) -> None:
        self._state = state

    async def Check(self, request: health_pb2.HealthCheckRequest, call: Call) -> health_pb2.HealthCheckResponse:
        """Raises: PhoenixNotFound for an unknown service, as the protocol wants it."""
        serving = self._state.is_serving(request.service)
        if serving is None:
            raise PhoenixNotFound("No such service. List them with reflection.")
        return health_pb2.HealthCheckResponse(status=_status(serving))

    async def List(self, request: Any, call: Call) -> Any:
        """Return the state of every service at once."""
        names = ["", *self._state.services()]
        return health_pb2.HealthListResponse(  # type: ignore[attr-defined]  # newer than the published types
            statuses={
                name: health_pb2.HealthCheckResponse(status=_status(self._state.is_serving(name))) for name in names
            }
        )

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Send the state now and at each change, until the client leaves or the process ends.

        A watcher who stayed would hold the process for its whole drain time, with nothing more to hear. One who were
        sent away earlier, while the process still accepts calls, would come back at once, again and again.
        Raises: Stopping.
        """
        last: int | None = None
        while True:
            change = asyncio.ensure_future(self._state.changed())
            try:
                ends = self._state.ends_streams
                status = _status(self._state.is_serving(request.service))
                if status != last:
                    last = status
                    yield health_pb2.HealthCheckResponse(status=status)
                if ends:  # as it was when the state was read: the last answer says that nothing serves
                    raise Stopping("This gateway is stopping. Watch another one.")
                await change
            finally:
                change.cancel()


def _status(serving: bool | None) -> Any:
    if serving is None:
        return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    return health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
