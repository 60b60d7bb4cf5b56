"""Fetches the platform's public key.

Whether the bytes are a key, which one is current, and how often to ask is `keys.platform_keys`' matter. Source: vendor
chapter 1.3, 1.4.
"""

from gateway.core.ed25519 import MAX_DOCUMENT_BYTES
from gateway.phoenix.answers import Surface, error_of_failure, raise_for
from gateway.phoenix.http_types import ExchangeFailed, Request, Sender
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

SIGNING_KEY_PATH = "/.well-known/signing-key.pem"
"""The platform's key. The route of an operator's own key serves another purpose and is not used."""

MAX_KEY_BYTES = MAX_DOCUMENT_BYTES
"""An Ed25519 key in PEM has 113 bytes; text may stand around it. A larger answer is not read to its end."""


class SigningKeysClient:
    """The well-known key route of one prediction host."""

    def __init__(self, *, sender: Sender, base_url: str, clock: Clock) -> None:
        """Fetch from `PREDICTION_BASE_URL`. Unsigned: the route is public."""
        self._sender = sender
        self._base_url = base_url
        self._clock = clock

    async def fetch_signing_key(self, timeout_s: float) -> bytes:
        """Ask once for the platform key and return the answer's body, at most 16 KiB, unchecked.

        Never tried again in here: whoever asks keeps to one fetch per cool-down. No cache on the way may answer from
        its store, since a verdict rests on the key being as fresh as the fetch. Raises: UpstreamFault.
        """
        request = Request(
            method="GET",
            url_base=self._base_url,
            raw_path=SIGNING_KEY_PATH,
            headers={"accept": "application/x-pem-file, */*;q=0.5", "cache-control": "no-cache"},
        )
        try:
            answer = await self._sender.send(request, Deadline.after(timeout_s, self._clock), MAX_KEY_BYTES)
        except ExchangeFailed as failure:
            raise error_of_failure(failure, Surface.PREDICTION, changes=False) from failure
        raise_for(answer, Surface.PREDICTION, self._clock.now())
        return answer.body
