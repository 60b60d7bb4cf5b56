"""Every proto service with its implementation."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from gateway.actions.admin.describe_keys import DescribeKeys
from gateway.actions.admin.operator_settings import ManageOperatorSettings
from gateway.actions.shared.contexts import OperatorContext, TenantContext
from gateway.actions.shared.directory import OnTarget, OperatorDirectory, TenantDirectory
from gateway.actions.tokens.mint_tokens import MintTokens
from gateway.config import Config
from gateway.interceptors.validation import validate
from gateway.keys.own.keyring import Keyring
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.clock import Clock
from gateway.server.assembly.boards import Boards
from gateway.server.assembly.events import Events
from gateway.server.assembly.phoenix_paths import call_phoenix
from gateway.server.assembly.wallet import Wallet
from gateway.services.keys import KeyService
from gateway.services.operator import OperatorService
from gateway.services.phoenix import PhoenixService
from gateway.services.tokens import TokenService
from gateway.v1 import (
    events_pb2,
    keys_pb2,
    leaderboard_admin_pb2,
    leaderboards_pb2,
    operator_pb2,
    phoenix_pb2,
    tokens_pb2,
    wallet_pb2,
)

Services = dict[ServiceDescriptor, object]


def build_services(
    config: Config,
    events: Events,
    boards: Boards,
    wallet: Wallet,
    tenants: TenantDirectory[TenantContext],
    operators: OperatorDirectory[OperatorContext],
    retrying: RetryingSender,
    keyring: Keyring,
    on_target: OnTarget,
    clock: Clock,
) -> Services:
    """Return the services of phoenix.gateway.v1. Health and reflection are not among them."""
    minting = MintTokens(tenants, operators, keyring, clock)
    any_path = call_phoenix(config, retrying, keyring, clock, on_target)
    return {
        _service(events_pb2, "EventService"): events.service,
        _service(leaderboards_pb2, "LeaderboardService"): boards.service,
        _service(leaderboard_admin_pb2, "LeaderboardAdminService"): boards.admin_service,
        _service(tokens_pb2, "TokenService"): TokenService(minting, validate),
        _service(wallet_pb2, "WalletService"): wallet.service,
        _service(operator_pb2, "OperatorService"): OperatorService(ManageOperatorSettings(operators, clock)),
        _service(phoenix_pb2, "PhoenixService"): PhoenixService(any_path),
        _service(keys_pb2, "KeyService"): KeyService(DescribeKeys(operators, keyring)),
    }


def _service(module: Any, name: str) -> ServiceDescriptor:
    found: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return found
