"""Any path of any of Phoenix's surfaces, if the caller's policy opens it; nothing is open by default.

The path is judged before anything else, a tenant's existence included; what goes out is that very path to a configured
host. What has an RPC with a guard of its own stays closed. Source: issue 7, point 8.
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
"""Methods on the operator's settings: UpdateOperatorSettings asks before it disables trading; nothing goes round it."""


class CallSurface(enum.Enum):
    """Where to; the values are the words of `PHOENIX_PATHS`."""

    INGESTION = "INGESTION"
    QUERY = "QUERY"
    ADMIN = "ADMIN"
    OPERATOR = "OPERATOR"


class CallAuth(enum.Enum):
    """How the gateway says who it is."""

    DEFAULT = "default"
    API_KEY = "api_key"
    TENANT_HMAC = "tenant_hmac"
    TENANT_JWT = "tenant_jwt"
    ADMIN_JWT = "admin_jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSurfaces:
    """A tenant's ways to its three hosts, by how they are authenticated."""

    tenant_id: TenantId
    clients: Mapping[tuple[CallSurface, CallAuth], PathClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSurface:
    """An operator environment's way to the Operator API."""

    operator_code: OperatorCode
    environment: Environment
    client: PathClient


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyCall:
    """What a caller wants sent. `path` as it is to go out; `body` None: none."""

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

    async def send(self, wanted: AnyCall, call: Call) -> Answer:
        """Send it and return Phoenix's 2xx.

        Raises: InvalidField, NotAllowed, TenantUnknown, OperatorUnknown, KeyUnknown, UpstreamFault.
        """
        call.facts["surface"] = wanted.surface.value.lower()
        # The pattern, not the path: a path may name a player.
        call.facts["path"] = str(_opened(wanted, call.grant.paths))
        return await self._client(wanted, call).call(
            wanted.method,
            wanted.path,
            call.deadline,
            query=wanted.query,
            body=wanted.body,
            idempotency_key=wanted.idempotency_key,
        )

    def _client(self, wanted: AnyCall, call: Call) -> PathClient:
        if wanted.surface is CallSurface.OPERATOR:
            operator = self._operators.resolve(wanted.operator_code, wanted.environment, call)
            call.facts["operator"] = operator.operator_code
            call.facts["environment"] = operator.environment.value
            return operator.client
        tenant = self._tenants.resolve(wanted.tenant_id, call)
        call.facts["tenant"] = tenant.tenant_id
        return tenant.clients[wanted.surface, wanted.auth]


def _opened(wanted: AnyCall, open_paths: Sequence[PathPattern]) -> PathPattern:
    """Return the pattern that opens the path. Raises: NotAllowed, InvalidField for a path or body that won't do."""
    try:
        segments = split_path(wanted.path)
    except PathRefused as refused:
        raise InvalidField([FieldFault(field="path", description=str(refused))]) from None
    fitting = (one for one in open_paths if one.fits(wanted.surface.value, wanted.method, segments))
    opened = next(fitting, None)
    is_operators = segments[:2] == _OPERATOR_API and len(segments) > 2
    is_settings = [one.lower() for one in segments[2:3]] == ["settings"]
    if wanted.surface is CallSurface.OPERATOR and wanted.method in _GUARDED and is_settings:
        raise NotAllowed("Use UpdateOperatorSettings: it asks before trading is disabled.")
    if opened is None or (wanted.surface is CallSurface.OPERATOR and not is_operators):
        raise NotAllowed("This path is not open to this caller. Whoever keeps the gateway's policy opens paths.")
    faults = []
    if wanted.body is not None and wanted.method in ("GET", "DELETE"):
        faults.append(FieldFault(field="body", description="must be left out for GET and DELETE"))
    if wanted.body is not None and len(wanted.body) > MAX_BODY_BYTES:
        faults.append(FieldFault(field="body", description=f"must have at most {MAX_BODY_BYTES} bytes as JSON"))
    if wanted.surface is CallSurface.OPERATOR and wanted.auth is not CallAuth.DEFAULT:
        faults.append(FieldFault(field="auth", description="must be left out: the operator's signature is all"))
    if faults:
        raise InvalidField(faults)
    return opened
