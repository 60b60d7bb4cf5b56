"""The settings and clients of one tenant, and of one operator environment. server/assembly builds them."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.actions.shared.supported_currencies import SupportedCurrencies
from gateway.core.launch_token import LaunchSettings
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.core.wallet import WalletAdapter
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.phoenix.auth.socket import AuthorizeSocket
from gateway.phoenix.gamification.admin import AdminClient
from gateway.phoenix.gamification.events import EventsClient
from gateway.phoenix.gamification.leaderboards import LeaderboardsClient
from gateway.phoenix.gamification.snapshots import SnapshotsClient
from gateway.phoenix.prediction.operator_api import OperatorApiClient


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantContext:
    """One gamification tenant.

    `send_event_id`: whether the gateway sends the id of an event to Phoenix. `socket_base_url`: scheme and host of the
    live socket, without a path; `authorize_socket` makes its path and credentials.
    """

    tenant_id: TenantId
    events: EventsClient
    boards: LeaderboardsClient
    snapshots: SnapshotsClient
    admin: AdminClient
    socket_base_url: str
    authorize_socket: AuthorizeSocket
    send_event_id: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorContext:
    """One prediction operator in one environment.

    `operator_id`: the id in wallet bodies; None: not checked. `currencies`: the configured currencies that a player
    token may name; empty: those that `supported` knows. `lease_s`: time until an unfinished wallet operation can be
    reclaimed. `held_operations`: operations whose suspect replays are held.
    """

    operator_code: OperatorCode
    environment: Environment
    operator_id: str | None
    platform_keys: PlatformKeys
    operator_api: OperatorApiClient
    embed_url: str
    lease_s: float
    launch: LaunchSettings = field(default_factory=LaunchSettings)
    supported: SupportedCurrencies | None = None
    currencies: frozenset[str] = frozenset()
    wallet: WalletAdapter = field(default_factory=WalletAdapter)
    held_operations: frozenset[str] = frozenset()
