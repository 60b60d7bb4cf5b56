"""Call any path of Phoenix that the caller's policy opens. No path is open by default.

The path is checked before anything else, even before the tenant's existence, and is sent unchanged to a configured
host. Operations whose own RPC has a safety check stay closed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.actions.shared.call import Call
from gateway.actions.shared.directory import OperatorDirectory, TenantDirectory
from gateway.core.raw_path import PathPattern, PathRefused, split_path
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.errors import FieldFault, InvalidField, NotAllowed
from gateway.phoenix.any_path import PathClient
from gateway.phoenix.http_types import Answer

MAX_BODY_BYTES = 1_000_000
_OPERATOR_API = ("operator", "api")
_GUARDED = frozenset({"PATCH", "PUT"})
"""Methods that change operator settings. Only UpdateOperatorSettings may, because it confirms disabling trading."""


class CallSurface(enum.Enum):
    """The surface of Phoenix. The values are the words of `PHOENIX_PATHS`."""

    INGESTION = "INGESTION"
    QUERY = "QUERY"
    ADMIN = "ADMIN"
    OPERATOR = "OPERATOR"


class CallAuth(enum.Enum):
    """How the gateway authenticates."""

    DEFAULT = "default"
    API_KEY = "api_key"
    TENANT_HMAC = "tenant_hmac"
    TENANT_JWT = "tenant_jwt"
    ADMIN_JWT = "admin_jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSurfaces:
    """The clients of a tenant for its three hosts, by surface and authentication."""

    tenant_id: TenantId
    clients: Mapping[tuple[CallSurface, CallAuth], PathClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSurface:
    """The client of an operator environment for the Operator API."""

    operator_code: OperatorCode
    environment: Environment
    client: PathClient


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRequest:
    """A request to Phoenix from a caller. `path` is sent unchanged; `body` None: no body."""

    surface: CallSurface
    method: str
    path: str
    auth: CallAuth = CallAuth.DEFAULT
    tenant_id: str = ""
    operator_code: str = ""
    environment: Environment | None = None
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)
    idempotency_key: str = ""


class CallPhoenix:
    """The action behind PhoenixService."""

    def __init__(
        self,
        tenants: TenantDirectory[TenantSurfaces],
        operators: OperatorDirectory[OperatorSurface],
    ) -> None:
        self._tenants = tenants
        self._operators = operators

    async def send(self, wanted: PathRequest, call: Call) -> Answer:
        """Send the request and return Phoenix's 2xx answer.

        Raises: InvalidField, NotAllowed, TenantUnknown, OperatorUnknown, KeyUnknown, UpstreamFault.
        """
        call.record.surface = wanted.surface.value.lower()
        # The pattern, not the path, because a path may contain a player's id.
        call.record.path = str(_open_pattern(wanted, call.grant.paths))
        return await self._client(wanted, call).call(
            wanted.method,
            wanted.path,
            call.deadline,
            query=wanted.query,
            body=wanted.body,
            idempotency_key=wanted.idempotency_key,
        )

    def _client(self, wanted: PathRequest, call: Call) -> PathClient:
        if wanted.surface is CallSurface.OPERATOR:
            return self._operators.resolve(wanted.operator_code, wanted.environment, call).client
        return self._tenants.resolve(wanted.tenant_id, call).clients[wanted.surface, wanted.auth]


def _open_pattern(wanted: PathRequest, open_paths: Sequence[PathPattern]) -> PathPattern:
    """Return the pattern that opens the path. Raises: NotAllowed; InvalidField for an invalid path or body."""
    try:
        segments = split_path(wanted.path)
    except PathRefused as refused:
        raise InvalidField([FieldFault(field="path", description=str(refused))]) from None
    fitting = (one for one in open_paths if one.fits(wanted.surface.value, wanted.method, segments))
    opened = next(fitting, None)
    is_operators = segments[:2] == _OPERATOR_API and len(segments) > 2
    is_settings = [one.lower() for one in segments[2:3]] == ["settings"]
    if wanted.surface is CallSurface.OPERATOR and wanted.method in _GUARDED and is_settings:
        raise NotAllowed("Operator settings cannot be changed by path. Use UpdateOperatorSettings.")
    if opened is None or (wanted.surface is CallSurface.OPERATOR and not is_operators):
        raise NotAllowed("This path is not open to this caller. Ask the administrator of the gateway's policy.")
    faults = []
    if wanted.body is not None and wanted.method in ("GET", "DELETE"):
        faults.append(FieldFault(field="body", description="must be left out for GET and DELETE"))
    if wanted.body is not None and len(wanted.body) > MAX_BODY_BYTES:
        faults.append(FieldFault(field="body", description=f"must have at most {MAX_BODY_BYTES} bytes as JSON"))
    if wanted.surface is CallSurface.OPERATOR and wanted.auth is not CallAuth.DEFAULT:
        faults.append(FieldFault(field="auth", description="must be left out: operator calls are always signed"))
    if faults:
        raise InvalidField(faults)
    return opened
