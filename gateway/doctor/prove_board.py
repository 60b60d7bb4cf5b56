"""Prepares the board for `doctor --prove-events` and starts the trials on it. A board for other uses is refused."""

from __future__ import annotations

import re

from gateway.config import Config, TenantConfig
from gateway.doctor.event_trials import EventTrials, TrialSettings
from gateway.doctor.prove_events import OnStep, TrialReport, prove_events
from gateway.doctor.report import fault, ok
from gateway.errors import GatewayError, PhoenixNotFound
from gateway.keys.own.keyring import Keyring
from gateway.phoenix.auth import authorize
from gateway.phoenix.gamification.admin import AdminClient
from gateway.phoenix.gamification.leaderboards import LeaderboardsClient
from gateway.phoenix.retry import RetryingSender
from gateway.phoenix.transport import Transport
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

_TRIAL_WORDS = frozenset({"prove", "proof", "doctor"})
_BOARD_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_BOARD_S = 20.0


async def prove(
    config: Config,
    board_id: str,
    clock: Clock,
    *,
    tenant_id: str = "",
    use_filled: bool = False,
    settings: TrialSettings | None = None,
    on_step: OnStep = lambda step: None,
) -> TrialReport:
    """Run all trials for one tenant ("": the only one) and return what they found."""
    report = TrialReport(board_id=board_id)
    tenants = [tenant for tenant in config.tenants if tenant_id in ("", tenant.keys.tenant_id)]
    if len(tenants) != 1:
        what = "this tenant is not configured" if not tenants else "several tenants are configured"
        known = ", ".join(tenant.keys.tenant_id for tenant in config.tenants) or "none"
        report.add("tenant", fault(what, f"choose one with --tenant; configured: {known}"))
        return report
    transport = Transport(ca_file=config.upstream_ca_file)
    try:
        await _prove(report, tenants[0], transport, clock, settings or TrialSettings(), on_step, use_filled=use_filled)
    finally:
        await transport.close()
    return report


async def _prove(
    report: TrialReport,
    tenant: TenantConfig,
    transport: Transport,
    clock: Clock,
    settings: TrialSettings,
    on_step: OnStep,
    *,
    use_filled: bool,
) -> None:
    tenant_id = tenant.keys.tenant_id
    keyring = Keyring(tenants=[tenant.keys], operators=[], clock=clock)
    retrying = RetryingSender(sender=transport, clock=clock)
    boards = LeaderboardsClient(
        retrying=retrying,
        base_url=tenant.query_base_url,
        tenant_id=tenant_id,
        authorize=authorize.query_host(tenant.query_auth, keyring, tenant_id, clock),
    )
    admin = AdminClient(
        retrying=retrying,
        base_url=tenant.admin_base_url,
        tenant_id=tenant_id,
        authorize=authorize.admin_host(tenant.admin_auth, keyring, tenant_id, clock),
    )
    on_step("the board")
    if not await prepare_board(report, admin, boards, clock, use_filled=use_filled):
        return
    trials = EventTrials(
        tenant_id=tenant_id,
        board_id=report.board_id,
        base_url=tenant.ingestion_base_url,
        authorize=authorize.tenant_hmac(keyring, tenant_id, clock),
        boards=boards,
        sender=transport,
        clock=clock,
        settings=settings,
    )
    await prove_events(report, trials, tenant, on_step)


async def prepare_board(
    report: TrialReport, admin: AdminClient, boards: LeaderboardsClient, clock: Clock, *, use_filled: bool
) -> bool:
    """Check that the board exists, is made for trials, and is active; return whether to send events to it.

    Args: `use_filled`: accept a board with entries.
    """
    board_id, deadline = report.board_id, Deadline.after(_BOARD_S, clock)
    if _BOARD_ID.fullmatch(board_id) is None or not _TRIAL_WORDS & set(re.split(r"[-_]", board_id.lower())):
        what = "the name does not show that the board is for trials; trial events would count on it"
        report.add("board", fault(what, "choose a name with the word prove, proof or doctor, such as prove-events-1"))
        return False
    try:
        board, is_new = await admin.ensure(
            board_id, deadline, name="Gateway trial events", description="Made by phoenix-gateway doctor --prove-events"
        )
        if board.status not in ("active", ""):
            report.add(
                "board", fault("exists, but is not active: events have no effect", "activate it, or choose another")
            )
            return False
        is_empty = is_new or await _is_empty(boards, board_id, deadline)
    except GatewayError as error:
        fix = f"see phoenix-gateway doctor, or create the board {board_id} at Phoenix yourself and run this again"
        report.add("board", fault(f"cannot be created or read: {error.message}", fix))
        return False
    if not is_empty and not use_filled:
        what = "exists and has entries, or may have: trial users would be added to them"
        report.add("board", fault(what, "choose a new board, or confirm with --yes"))
        return False
    state = (
        "created" if is_new else ("exists and is empty" if is_empty else "exists with entries, used because of --yes")
    )
    report.add("board", ok(state))
    return True


async def _is_empty(boards: LeaderboardsClient, board_id: str, deadline: Deadline) -> bool:
    try:
        return not (await boards.page(board_id, deadline, limit=1)).entries
    except PhoenixNotFound:
        return False  # the admin host lists it and the query host does not: its entries are unknown
