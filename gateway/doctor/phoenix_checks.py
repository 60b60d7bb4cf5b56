"""Whether Phoenix accepts a tenant's credentials: at the admin host, the signature, and a read at the query host.

Every request is a GET that changes nothing. An answer that the host also gives without credentials proves nothing, and
the finding says so. Source: gamification.md 1.3, 1.4, 2.2, 2.3, 4.
"""

from __future__ import annotations

import re

from gateway.config import TenantConfig
from gateway.core.wire import decode_leaderboard
from gateway.doctor.hosts import Host
from gateway.doctor.phoenix_request import error_code, get, is_success, status_text, without_credentials
from gateway.doctor.report import Result, fault, ok, skipped, warning
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
"""What Phoenix allows. Any other id in its list is not shown, because it could control the terminal."""
_CLOCK_CODE = "AUTH_004"
_CLOCK_FIX = "set this machine's clock by NTP; see the line about the clock"


class TenantChecks:
    """The checks of one tenant."""

    def __init__(
        self, config: TenantConfig, *, admin: Host, query: Host, keyring: Keyring, sender: Sender, clock: Clock
    ) -> None:
        """Ask as this tenant; `admin` and `query` were checked before."""
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

    async def admin_access(self, deadline: Deadline) -> Result:
        """GET /health at the admin host with the credentials of ADMIN_AUTH: 200 means that they are active."""
        mode = self._config.admin_auth
        answer = await self._get(self._admin.base_url, "/health", self._as_admin, deadline)
        if isinstance(answer, Result):
            return answer
        if is_success(answer):
            if self._admin.answers_to_anyone:
                return warning(
                    "the admin host's /health also answers without credentials, so this proves nothing",
                    "ask Phoenix how to check the key, or try ListLeaderboards",
                )
            return ok(f"accepted: {_credential(mode)} is active (ADMIN_AUTH {mode.value})")
        return _refused(answer, mode, "ADMIN_AUTH", "admin")

    async def hmac(self, deadline: Deadline) -> Result:
        """Send a signed GET /health to the admin host; if that proves nothing, a signed read to the query host."""
        answer = await self._get(self._admin.base_url, "/health", self._signed, deadline)
        if isinstance(answer, Result):
            return answer
        proof = "this proves tenant id, secret and clock, which also sign events"
        if is_success(answer) and not self._admin.answers_to_anyone:
            return ok(f"accepted on a signed GET of the admin host: {proof}")
        second = await self._get(self._query.base_url, self._board(NO_BOARD), self._signed, deadline)
        if isinstance(second, Result):
            return second
        if (second.status == 404 or is_success(second)) and await self._asks_for_credentials(deadline):
            return ok(f"accepted on a signed GET of the query host: {proof}")
        if _CLOCK_CODE in (error_code(answer), error_code(second)):
            return fault(f"refused ({status_text(second)}): Phoenix finds the timestamp too old or too new", _CLOCK_FIX)
        if second.status == 401:
            return fault(
                f"refused ({status_text(second)}): INGESTION_HMAC_SECRET makes no valid signature for TENANT_ID",
                "compare both with the values that Phoenix issued for this environment; look for blanks at their ends",
            )
        if second.status == 403:
            return fault(
                f"Phoenix accepted the signature but refused the tenant ({status_text(second)})",
                "check TENANT_ID; ask Phoenix whether the tenant is suspended",
            )
        return warning(
            f"this proves nothing: admin answered {status_text(answer)}, query {status_text(second)}",
            "try again when Phoenix is healthy; as a last resort send an event (doctor --prove-events)",
        )

    async def read(self, deadline: Deadline) -> Result:
        """Read one entry of an active board with the credentials of QUERY_AUTH, or of a missing one"""
        mode = self._config.query_auth
        board_id = await self._active_board(deadline)
        answer = await self._get(
            self._query.base_url,
            self._board(board_id or NO_BOARD),
            self._as_reader,
            deadline,
            query=(("limit", "1"), ("offset", "0")),
        )
        if isinstance(answer, Result):
            return answer
        if answer.status == 404 and board_id is None:
            if await self._asks_for_credentials(deadline):
                return ok(f"accepted (QUERY_AUTH {mode.value}); there is no active board to read yet")
            return warning(
                "there is no active board to read, and the query host answers 404 to anyone",
                "create a board, then run this again",
            )
        if answer.status == 404:
            return fault(
                f"the admin host lists board {board_id}, but the query host does not have it ({status_text(answer)})",
                "check that QUERY_BASE_URL and ADMIN_BASE_URL belong to the same environment",
            )
        if not is_success(answer):
            return _refused(answer, mode, "QUERY_AUTH", "query")
        try:
            page = decode_leaderboard(answer.body)
        except PhoenixAnswerUnreadable as unreadable:
            return fault(
                f"the answer for board {board_id or NO_BOARD} cannot be read: {unreadable.message}",
                "check that QUERY_BASE_URL is Phoenix; if it is, report this: gateway/core/wire_answers.py reads it",
            )
        total = "an unknown number of" if page.total is None else str(page.total)
        return ok(f"board {board_id or NO_BOARD} read (QUERY_AUTH {mode.value}); {total} entries")

    async def _active_board(self, deadline: Deadline) -> str | None:
        """Return the id of an active board. None: there is none, or no list; another check reports that."""
        retrying = RetryingSender(sender=self._sender, clock=self._clock)
        admin = AdminClient(
            retrying=retrying, base_url=self._admin.base_url, tenant_id=self._tenant_id, authorize=self._as_admin
        )
        try:
            boards = await admin.definitions(deadline.shaved(deadline.remaining() / 2))
        except GatewayError:
            return None
        active = (board.leaderboard_id for board in boards if board.status in ("active", ""))
        return next((board_id for board_id in active if _BOARD_ID.fullmatch(board_id)), None)

    async def _asks_for_credentials(self, deadline: Deadline) -> bool:
        """Whether the query host refuses the same read without credentials, so that any other answer is a proof."""
        answer = await self._get(self._query.base_url, self._board(NO_BOARD), without_credentials, deadline)
        return not isinstance(answer, Result) and answer.status in (401, 403)

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
    ) -> Answer | Result:
        """Return the answer, or the result to report if none came."""
        try:
            return await get(self._sender, base_url, raw_path, credentials, deadline, query=query)
        except ExchangeFailed as failure:
            return fault(f"no answer: {failure}", "see the lines about this host")


def _credential(mode: UpstreamAuth) -> str:
    match mode:
        case UpstreamAuth.API_KEY | UpstreamAuth.BEARER:
            return "ADMIN_API_KEY"
        case UpstreamAuth.HMAC:
            return "INGESTION_HMAC_SECRET"
        case UpstreamAuth.JWT:
            return "the JWT"


def _refused(answer: Answer, mode: UpstreamAuth, setting: str, surface: str) -> Result:
    """Return what a status other than 2xx means for the credentials."""
    if answer.status == 401 and error_code(answer) == _CLOCK_CODE:
        return fault(f"refused ({status_text(answer)}): the timestamp is too old or too new", _CLOCK_FIX)
    if answer.status == 401:
        hint = {
            UpstreamAuth.API_KEY: "compare ADMIN_API_KEY with the value that Phoenix issued for this environment",
            UpstreamAuth.BEARER: "compare ADMIN_API_KEY with the value that Phoenix issued for this environment",
            UpstreamAuth.HMAC: "compare TENANT_ID and INGESTION_HMAC_SECRET with the values that Phoenix issued",
            UpstreamAuth.JWT: f"check the secret that signs it (and ADMIN_API_KEY_ID), or set {setting} to api_key",
        }[mode]
        return fault(
            f"refused ({status_text(answer)}): {_credential(mode)} is wrong or not active ({setting} {mode.value})",
            hint,
        )
    if answer.status == 403:
        return fault(
            f"{_credential(mode)} is valid but has no right here ({status_text(answer)})",
            f"ask Phoenix for a key with the {surface} scope of this tenant, and check TENANT_ID",
        )
    if answer.status == 429:
        return skipped("Phoenix limits the rate (429)")
    if answer.status == 422:
        return warning(f"the board is not readable now ({status_text(answer)})", "check its status at Phoenix")
    if answer.status >= 500:
        return fault(f"Phoenix has a problem ({status_text(answer)})", "try again later, or ask its support")
    return fault(f"an unexpected status ({status_text(answer)})", f"check that the {surface} base URL is the right one")
