"""Asks Phoenix whether it accepts new credentials, by a GET that changes nothing.

One answer proves little. A refusal counts only if the same route accepts the credentials in use; an acceptance counts
only if the route refuses a request without credentials. Source: gamification.md 2.3; prediction.md 3.
"""

from __future__ import annotations

from gateway.core.key_trial import TrialResult
from gateway.errors import GatewayError
from gateway.phoenix.auth.authorize import AuthorizeAnywhere, awaited
from gateway.phoenix.http_types import ExchangeFailed, Request, Sender
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

ANSWER_WITHIN_S = 2.0
"""Longest wait for one answer: all keys wait for their trials together."""
MAX_ANSWER_BYTES = 256 * 1024
_REFUSALS = (401, 403)


class CredentialTrial:
    """Compares new credentials with those in use at one route."""

    def __init__(self, sender: Sender, clock: Clock) -> None:
        """`sender` must not report a 401 to the keys: a trial would start another trial."""
        self._sender = sender
        self._clock = clock

    async def compare(
        self, base_url: str, path: str, *, new: AuthorizeAnywhere, in_use: AuthorizeAnywhere
    ) -> TrialResult:
        """Return what the route says about the new credentials. Never raises."""
        is_accepted = await self._accepts(base_url, path, new)
        if is_accepted is None:
            return TrialResult.UNANSWERED
        if is_accepted:
            accepts_anyone = await self._accepts(base_url, path, lambda *_: {})
            return TrialResult.ACCEPTED if accepts_anyone is False else TrialResult.UNPROVEN
        accepts_old = await self._accepts(base_url, path, in_use)
        if accepts_old is None:
            return TrialResult.UNANSWERED
        return TrialResult.REFUSED if accepts_old else TrialResult.UNPROVEN

    async def _accepts(self, base_url: str, path: str, credentials: AuthorizeAnywhere) -> bool | None:
        """Whether Phoenix accepts these credentials; None if it did not say."""
        try:
            headers = {"accept": "application/json", **await awaited(credentials("GET", path, b""))}
            request = Request(method="GET", url_base=base_url, raw_path=path, headers=headers)
            answer = await self._sender.send(request, Deadline.after(ANSWER_WITHIN_S, self._clock), MAX_ANSWER_BYTES)
        except (ExchangeFailed, GatewayError):
            return None  # such a trial proves nothing, and must not end the watch over the files
        if answer.status in _REFUSALS:
            return False
        return True if 200 <= answer.status < 300 else None
