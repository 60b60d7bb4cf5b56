"""What a tenant's credentials open at Phoenix: the API key at admin, the signature, a read at query.

Every request is a GET that changes nothing. Where a host answers the same without credentials, that is said instead of
calling it a proof. Source: gamification.md 1.3, 1.4, 2.2, 2.3, 4.
"""

from __future__ import annotations

import re

from gateway.config import TenantConfig
from gateway.core.wire import decode_leaderboard
from gateway.doctor.hosts import Host
from gateway.doctor.probe import code_of, get, is_fine, named
from gateway.doctor.report import Verdict, fault, ok, skipped, warning
from gateway.errors import GatewayError, PhoenixAnswerUnreadable
from gateway.keys.own.keyring import Keyring
from gateway.phoenix.auth import authorize
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.auth.modes import UpstreamAuth
from gateway.phoenix.gamification.admin import AdminClient
from gateway.phoenix.gamification.client import path
from gateway.phoenix.http_types import Answer, ExchangeFailed, Sender
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

NO_BOARD = "phoenix-gateway-doctor-no-such-board"
_BOARD_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What Phoenix allows. Anything else in its list is not shown: it would go to a terminal."""
_CLOCK_CODE = "AUTH_004"
_CLOCK_FIX = "set this machine's clock by NTP; see the line of the clock"


class TenantChecks:
    """The checks of one tenant."""

    def __init__(
        self, config: TenantConfig, *, admin: Host, query: Host, keyring: Keyring, sender: Sender, clock: Clock
    ) -> None:
        """Ask as this tenant; `admin` and `query` were looked at before."""
        self._config = config
        self._admin = admin
        self._query = query
        self._sender = sender
        self._clock = clock
        tenant_id = config.keys.tenant_id
        self._tenant_id = tenant_id
        self._as_admin = authorize.admin_host(config.admin_auth, keyring, tenant_id, clock)
        self._as_reader = authorize.query_host(config.query_auth, keyring, tenant_id, clock)
        self._signed = authorize.tenant_hmac(keyring, tenant_id, clock)

    async def admin_access(self, deadline: Deadline) -> Verdict:
        """GET /health at the admin host with the credentials of ADMIN_AUTH: 200 means that they are active."""
        mode = self._config.admin_auth
        answer = await self._get(self._admin.base_url, "/health", self._as_admin, deadline)
        if isinstance(answer, Verdict):
            return answer
        if is_fine(answer):
            if self._admin.answers_to_anyone:
                return warning(
                    "the admin host's /health answers without credentials too, so that nothing is proven",
                    "ask Phoenix how the key can be checked, or look whether ListLeaderboards works",
                )
            return ok(f"accepted: {_credential(mode)} is active (ADMIN_AUTH {mode.value})")
        return _refused(answer, mode, "ADMIN_AUTH", "admin")

    async def hmac(self, deadline: Deadline) -> Verdict:
        """Send a signed GET /health to the admin host; where that is refused, a signed read to the query host."""
        answer = await self._get(self._admin.base_url, "/health", self._signed, deadline)
        if isinstance(answer, Verdict):
            return answer
        proof = "proves tenant id, secret and clock, which sign events as well"
        if is_fine(answer) and not self._admin.answers_to_anyone:
            return ok(f"accepted on a signed GET of the admin host: {proof}")
        second = await self._get(self._query.base_url, self._board(NO_BOARD), self._signed, deadline)
        if isinstance(second, Verdict):
            return second
        if (second.status == 404 or is_fine(second)) and await self._asks_for_credentials(deadline):
            return ok(f"accepted on a signed GET of the query host: {proof}")
        if _CLOCK_CODE in (code_of(answer), code_of(second)):
            return fault(f"refused ({named(second)}): Phoenix says that the timestamp is too old or new", _CLOCK_FIX)
        if second.status == 401:
            return fault(
                f"refused ({named(second)}): Phoenix does not accept what INGESTION_HMAC_SECRET signs for TENANT_ID",
                "compare both with what Phoenix issued for this environment; look for blanks at the secret's ends",
            )
        if second.status == 403:
            return fault(
                f"the signature was taken, the tenant was not ({named(second)})",
                "check TENANT_ID; ask Phoenix whether the tenant is suspended",
            )
        return warning(
            f"nothing is proven: admin answered {named(answer)}, query {named(second)}",
            "try again when Phoenix is well; an event is the last proof (doctor --prove-events)",
        )

    async def read(self, deadline: Deadline) -> Verdict:
        """Read one entry of an active board with the credentials of QUERY_AUTH; without one, of a board that is not."""
        mode = self._config.query_auth
        board_id = await self._active_board(deadline)
        answer = await self._get(
            self._query.base_url,
            self._board(board_id or NO_BOARD),
            self._as_reader,
            deadline,
            query=(("limit", "1"), ("offset", "0")),
        )
        if isinstance(answer, Verdict):
            return answer
        if answer.status == 404 and board_id is None:
            if await self._asks_for_credentials(deadline):
                return ok(f"accepted (QUERY_AUTH {mode.value}); there is no active board to read yet")
            return warning(
                "there is no active board to read, and the query host says 404 to anyone",
                "make a board, then run this again",
            )
        if answer.status == 404:
            return fault(
                f"the admin host lists board {board_id}, the query host does not know it ({named(answer)})",
                "check that QUERY_BASE_URL and ADMIN_BASE_URL are of the same environment",
            )
        if not is_fine(answer):
            return _refused(answer, mode, "QUERY_AUTH", "query")
        try:
            page = decode_leaderboard(answer.body)
        except PhoenixAnswerUnreadable as unreadable:
            return fault(
                f"board {board_id or NO_BOARD} was answered, and the answer cannot be read: {unreadable.message}",
                "check that QUERY_BASE_URL is Phoenix's; if it is, report this: gateway/core/wire_answers.py adapts it",
            )
        total = "an unknown number of" if page.total is None else str(page.total)
        return ok(f"board {board_id or NO_BOARD} read (QUERY_AUTH {mode.value}); {total} entries")

    async def _active_board(self, deadline: Deadline) -> str | None:
        """The id of an active board, None where there is none or the list cannot be had: that is another check's."""
        courier = RetryingSender(sender=self._sender, clock=self._clock)
        admin = AdminClient(
            courier=courier, base_url=self._admin.base_url, tenant_id=self._tenant_id, authorize=self._as_admin
        )
        try:
            boards = await admin.definitions(deadline.shaved(deadline.remaining() / 2))
        except GatewayError:
            return None
        active = (board.leaderboard_id for board in boards if board.status in ("active", ""))
        return next((board_id for board_id in active if _BOARD_ID.fullmatch(board_id)), None)

    async def _asks_for_credentials(self, deadline: Deadline) -> bool:
        """Whether the query host refuses the same read without credentials, so that another answer is a proof."""
        answer = await self._get(self._query.base_url, self._board(NO_BOARD), lambda *_: {}, deadline)
        return not isinstance(answer, Verdict) and answer.status in (401, 403)

    def _board(self, board_id: str) -> str:
        return path("v1", "leaderboards", self._tenant_id, board_id)

    async def _get(
        self,
        base_url: str,
        raw_path: str,
        credentials: Authorize,
        deadline: Deadline,
        *,
        query: tuple[tuple[str, str], ...] = (),
    ) -> Answer | Verdict:
        """The answer, or what to say where none came."""
        try:
            return await get(self._sender, base_url, raw_path, credentials, deadline, query=query)
        except ExchangeFailed as failure:
            return fault(f"no answer: {failure}", "look at the lines of this host")


def _credential(mode: UpstreamAuth) -> str:
    match mode:
        case UpstreamAuth.API_KEY | UpstreamAuth.BEARER:
            return "ADMIN_API_KEY"
        case UpstreamAuth.HMAC:
            return "INGESTION_HMAC_SECRET"
        case UpstreamAuth.JWT:
            return "the JWT"


def _refused(answer: Answer, mode: UpstreamAuth, setting: str, surface: str) -> Verdict:
    """Say what a status other than 2xx means for the credentials."""
    if answer.status == 401 and code_of(answer) == _CLOCK_CODE:
        return fault(f"refused ({named(answer)}): the timestamp is too old or new", _CLOCK_FIX)
    if answer.status == 401:
        hint = {
            UpstreamAuth.API_KEY: "compare ADMIN_API_KEY with what Phoenix issued for this environment",
            UpstreamAuth.BEARER: "compare ADMIN_API_KEY with what Phoenix issued for this environment",
            UpstreamAuth.HMAC: "compare TENANT_ID and INGESTION_HMAC_SECRET with what Phoenix issued",
            UpstreamAuth.JWT: f"check the secret that signs it (and ADMIN_API_KEY_ID), or set {setting} to api_key",
        }[mode]
        return fault(
            f"refused ({named(answer)}): {_credential(mode)} is wrong or not active ({setting} {mode.value})", hint
        )
    if answer.status == 403:
        return fault(
            f"{_credential(mode)} is known but has no right here ({named(answer)})",
            f"ask Phoenix for a key with the {surface} scope of this tenant, and check TENANT_ID",
        )
    if answer.status == 429:
        return skipped("Phoenix limits the rate (429)")
    if answer.status == 422:
        return warning(f"the board is not readable now ({named(answer)})", "look at its status at Phoenix")
    if answer.status >= 500:
        return fault(f"Phoenix is in trouble ({named(answer)})", "try again later; ask its support")
    return fault(f"an unexpected status ({named(answer)})", f"check that the {surface} base URL is the right one")
