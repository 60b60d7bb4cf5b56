"""Phoenix's platform key as an operator's wallet calls need it: served, readable, pinned, not our own.

Source: prediction.md 1.3, 1.4; API.md, PREDICTION_PLATFORM_KEY and PREDICTION_PLATFORM_KEY_SHA256.
"""

from __future__ import annotations

from gateway.config import OperatorConfig
from gateway.core.ed25519 import KeyRefused, SigningKey, load_verifying_key
from gateway.doctor.report import Verdict, fault, ok, warning
from gateway.errors import PhoenixAnswerUnreadable, UpstreamFault
from gateway.phoenix.http_types import Sender
from gateway.phoenix.prediction.signing_keys import SIGNING_KEY_PATH, SigningKeysClient
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

_PINS = "PREDICTION_PLATFORM_KEY_SHA256"


class PlatformKeyCheck:
    """Fetches the key once, as the gateway does, and holds it against the settings of one operator."""

    def __init__(self, config: OperatorConfig, own: SigningKey | None, *, sender: Sender, clock: Clock) -> None:
        """Look for this operator; `own` is its launch key."""
        self._config = config
        self._own = own
        self._client = SigningKeysClient(sender=sender, base_url=config.base_url, clock=clock)

    async def look(self, deadline: Deadline) -> Verdict:
        """Fetch, load, compare."""
        try:
            body = await self._client.fetch_signing_key(deadline.remaining())
        except PhoenixAnswerUnreadable:
            return fault(
                f"{SIGNING_KEY_PATH} holds something larger than a key, or no HTTP",
                "check PREDICTION_BASE_URL, and what stands between here and there",
            )
        except UpstreamFault as failure:
            status = failure.metadata.get("phoenix_status")
            why = f"it answered {status}" if status else "no answer came"
            return fault(
                f"{SIGNING_KEY_PATH} cannot be fetched: {why}",
                "check PREDICTION_BASE_URL; without the key every wallet call is answered 503 until it can be fetched",
            )
        if body.lstrip()[:1] == b"<":
            return fault(
                f"{SIGNING_KEY_PATH} holds a web page (HTML) in place of a key",
                "check PREDICTION_BASE_URL; a login page or a proxy may stand in between",
            )
        try:
            key = load_verifying_key(body)
        except KeyRefused as refusal:
            return fault(f"{SIGNING_KEY_PATH}: {refusal}", "check PREDICTION_BASE_URL; ask Phoenix about its key")
        return self._judge(str(key.key_id))

    def _judge(self, fingerprint: str) -> Verdict:
        static, pins = self._config.static_platform_key, self._config.platform_keys.pins
        if self._own is not None and self._own.key_id == fingerprint:
            return fault(
                f"what Phoenix serves as its platform key is our own operator key ({fingerprint})",
                "check PREDICTION_BASE_URL: it must be Phoenix's host, without a path",
            )
        if static is not None and static.key_id != fingerprint:
            return warning(
                f"PREDICTION_PLATFORM_KEY ({static.key_id}) is not the key that Phoenix serves ({fingerprint})",
                "if Phoenix has rotated its key, wallet calls are refused: put the new key there, or leave it out",
            )
        if pins and fingerprint not in pins:
            return fault(
                f"the key that Phoenix serves ({fingerprint}) is none of those pinned by {_PINS}",
                f"ask Phoenix on another way whether this is its key; if it is, add it to {_PINS}",
            )
        if static is not None:
            return ok(f"PREDICTION_PLATFORM_KEY is the key that Phoenix serves: {fingerprint}")
        if pins:
            return ok(f"fetched and pinned: {fingerprint}")
        return ok(f"fetched: {fingerprint}; not pinned", f"to pin it: {_PINS}={fingerprint}")
