"""Phoenix's platform key, which verifies an operator's wallet calls: served, readable, pinned, and not our own key.

Source: prediction.md 1.3, 1.4.
"""

from __future__ import annotations

from gateway.config import OperatorConfig
from gateway.core.ed25519 import KeyRefused, find_verifying_key
from gateway.doctor.report import Result, fault, ok, warning
from gateway.errors import PhoenixAnswerUnreadable, UpstreamFault
from gateway.keys.signers.signing_queue import LaunchKey
from gateway.phoenix.http_types import Sender
from gateway.phoenix.prediction.signing_keys import SIGNING_KEY_PATH, SigningKeysClient
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

_PINS = "PREDICTION_PLATFORM_KEY_SHA256"


class PlatformKeyCheck:
    """Fetches the key once, as the gateway does, and compares it with the settings of one operator."""

    def __init__(self, config: OperatorConfig, own: LaunchKey | None, *, sender: Sender, clock: Clock) -> None:
        """Check for this operator; `own` is its launch key."""
        self._config = config
        self._own = own
        self._client = SigningKeysClient(sender=sender, base_url=config.base_url, clock=clock)

    async def probe(self, deadline: Deadline) -> Result:
        """Fetch, load, compare."""
        try:
            body = await self._client.fetch_signing_key(deadline.remaining())
        except PhoenixAnswerUnreadable:
            return fault(
                f"{SIGNING_KEY_PATH} answers with something larger than a key, or not in HTTP",
                "check PREDICTION_BASE_URL, and any proxy in between",
            )
        except UpstreamFault as failure:
            status = failure.metadata.get("phoenix_status")
            why = f"it answered {status}" if status else "no answer came"
            return fault(
                f"{SIGNING_KEY_PATH} cannot be fetched: {why}",
                "check PREDICTION_BASE_URL; " + self._effect_of_no_fetch(),
            )
        if body.lstrip()[:1] == b"<":
            return fault(
                f"{SIGNING_KEY_PATH} answers with a web page (HTML) instead of a key",
                "check PREDICTION_BASE_URL; a login page or a proxy may be in between",
            )
        try:
            key = find_verifying_key(body)
        except KeyRefused as refusal:
            return fault(f"{SIGNING_KEY_PATH}: {refusal}", "check PREDICTION_BASE_URL; ask Phoenix about its key")
        return self._judge(str(key.key_id))

    @property
    def _setting(self) -> str:
        return "PREDICTION_PLATFORM_KEY" + ("" if self._config.platform_key_file is None else "_FILE")

    def _effect_of_no_fetch(self) -> str:
        if self._config.static_platform_key is None:
            return "every wallet call gets 503 until the gateway can fetch the key"
        if self._config.platform_key_file is None:
            return "if Phoenix has rotated its key, the gateway refuses wallet calls, and this check cannot tell"
        return f"every wallet call that {self._setting} does not verify gets 503, also a forged one"

    def _effect_of_another_key(self) -> str:
        if self._config.platform_key_file is None:
            return "if Phoenix has rotated its key, the gateway refuses wallet calls: set the new key, or none"
        return "if Phoenix has rotated its key, its wallet calls get 503: replace the file"

    def _judge(self, fingerprint: str) -> Result:
        static, pins = self._config.static_platform_key, self._config.platform_keys.pins
        if self._own is not None and self._own.key_id == fingerprint:
            return fault(
                f"the platform key that Phoenix serves is our own operator key ({fingerprint})",
                "check PREDICTION_BASE_URL: it must be Phoenix's host, without a path",
            )
        if static is not None and static.key_id != fingerprint:
            return warning(
                f"{self._setting} ({static.key_id}) is not the key that Phoenix serves ({fingerprint})",
                self._effect_of_another_key(),
            )
        if pins and fingerprint not in pins:
            return fault(
                f"the key that Phoenix serves ({fingerprint}) is not among those pinned by {_PINS}",
                f"ask Phoenix over another channel whether this is its key; if it is, add it to {_PINS}",
            )
        if static is not None:
            return ok(f"{self._setting} is the key that Phoenix serves: {fingerprint}")
        if pins:
            return ok(f"fetched and pinned: {fingerprint}")
        return ok(f"fetched: {fingerprint}; not pinned", f"to pin it: {_PINS}={fingerprint}")
