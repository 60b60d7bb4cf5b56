"""Makes the board of `doctor --prove-events`, or refuses one that is not made for it, and starts the trials on it.

Source: issue 4, point 3; API.md, EventService.
"""

from __future__ import annotations

import re

from gateway.config import Config, TenantConfig
from gateway.doctor.event_trials import EventTrials, TrialSettings
from gateway.doctor.prove_events import OnStep, Proof, prove_events
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

_SAYS_SO = frozenset({"prove", "proof", "doctor"})
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
) -> Proof:
    """Run the whole proof for one tenant ("": the only one) and return what was found."""
    proof = Proof(board_id=board_id)
    tenants = [tenant for tenant in config.tenants if tenant_id in ("", tenant.keys.tenant_id)]
    if len(tenants) != 1:
        what = "no such tenant is configured" if not tenants else "several tenants are configured"
        known = ", ".join(tenant.keys.tenant_id for tenant in config.tenants) or "none"
        proof.add("tenant", fault(what, f"name one by --tenant; configured: {known}"))
        return proof
    transport = Transport(ca_file=config.upstream_ca_file)
    try:
        await _prove(proof, tenants[0], transport, clock, settings or TrialSettings(), on_step, use_filled=use_filled)
    finally:
        await transport.close()
    return proof


async def _prove(
    proof: Proof,
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
    courier = RetryingSender(sender=transport, clock=clock)
    boards = LeaderboardsClient(
        courier=courier,
        base_url=tenant.query_base_url,
        tenant_id=tenant_id,
        authorize=authorize.query_host(tenant.query_auth, keyring, tenant_id, clock),
    )
    admin = AdminClient(
        courier=courier,
        base_url=tenant.admin_base_url,
        tenant_id=tenant_id,
        authorize=authorize.admin_host(tenant.admin_auth, keyring, tenant_id, clock),
    )
    on_step("the board")
    if not await prepare_board(proof, admin, boards, clock, use_filled=use_filled):
        return
    trials = EventTrials(
        tenant_id=tenant_id,
        board_id=proof.board_id,
        base_url=tenant.ingestion_base_url,
        authorize=authorize.tenant_hmac(keyring, tenant_id, clock),
        boards=boards,
        sender=transport,
        clock=clock,
        settings=settings,
    )
    await prove_events(proof, trials, tenant, on_step)


async def prepare_board(
    proof: Proof, admin: AdminClient, boards: LeaderboardsClient, clock: Clock, *, use_filled: bool
) -> bool:
    """See that the board is there, made for this, and active; return whether events may be sent to it.

    `use_filled`: a board with entries is taken all the same.
    """
    board_id, deadline = proof.board_id, Deadline.after(_BOARD_S, clock)
    if _BOARD_ID.fullmatch(board_id) is None or not _SAYS_SO & set(re.split(r"[-_]", board_id.lower())):
        what = "the name does not say that the board is made for this; trial events would count on it"
        proof.add("board", fault(what, "choose one with the word prove, proof or doctor, such as prove-events-1"))
        return False
    try:
        board, is_new = await admin.ensure(
            board_id, deadline, name="Gateway trial events", description="Made by phoenix-gateway doctor --prove-events"
        )
        if board.status not in ("active", ""):
            proof.add("board", fault("is there, but not active: events have no effect", "activate it, or name another"))
            return False
        is_empty = is_new or await _is_empty(boards, board_id, deadline)
    except GatewayError as error:
        fix = f"see phoenix-gateway doctor, or make the board {board_id} at Phoenix by hand and run this again"
        proof.add("board", fault(f"cannot be made or looked at: {error.message}", fix))
        return False
    if not is_empty and not use_filled:
        what = "is there already and has entries (or may have): trial users would be added to them"
        proof.add("board", fault(what, "name a board of its own, or say --yes"))
        return False
    told = "made" if is_new else ("is there and empty" if is_empty else "is there with entries, used because of --yes")
    proof.add("board", ok(told))
    return True


async def _is_empty(boards: LeaderboardsClient, board_id: str, deadline: Deadline) -> bool:
    try:
        return not (await boards.page(board_id, deadline, limit=1)).entries
    except PhoenixNotFound:
        return False  # listed by the admin host, unknown to the query host: nothing is known of it
