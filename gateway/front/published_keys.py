"""The public keys of operators over HTTP, as JWK sets and PEM, for those who verify launch tokens.

`/keys/jwks.json` contains the keys of all operator environments, `/keys/OPERATOR/ENVIRONMENT/jwks.json` those of one.
A verifier uses the latter, so that one operator's key never verifies another's token. `/keys/KEY_ID.pem` is a single
key. Each set contains announced, active and retiring keys. A verifier that fetches it again within the time in
`Cache-Control` knows every key before it signs. Source: RFC 7517, RFC 8037.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import orjson

from gateway.keys.descriptions import PublishedKey

JWK_SET = "application/jwk-set+json"
PEM = "application/x-pem-file"
SEEN_WITHIN_S = 2.0
"""How long a replica may take until it shows a key file that was added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The answer of a path of the admin port. `max_age_s`: how long a client may cache it."""

    content_type: str
    body: bytes
    max_age_s: int = 0
    status: int = 200


class PublishedKeys:
    """Answers the paths below /keys/."""

    def __init__(self, published: Callable[[], Sequence[PublishedKey]], *, lead_s: float) -> None:
        """Show the keys that `published` returns. `lead_s`: the least time from showing a key to its first use."""
        self._published = published
        # Half of the time that is left once every replica shows the key: one fetch of a verifier may fail.
        self._max_age_s = max(0, int((lead_s - SEEN_WITHIN_S) / 2))

    def page(self, raw_path: str) -> Page | None:
        """Return the page of a path as sent, percent-encoded; None if there is no such page."""
        if not raw_path.startswith("/keys/"):
            return None
        rest = raw_path.removeprefix("/keys/")
        published = self._published()
        if rest == "jwks.json":
            return self._set(published)
        if rest.endswith(".pem"):
            wanted = rest.removesuffix(".pem")
            found = next((one.key for one in published if one.key.key_id == wanted), None)
            return None if found is None else Page(content_type=PEM, body=found.spki_pem, max_age_s=self._max_age_s)
        own = [one for one in published if rest == f"{quote(one.operator_code, safe='')}/{_environment(one)}/jwks.json"]
        return self._set(own) if own else None

    def _set(self, keys: Sequence[PublishedKey]) -> Page:
        body = orjson.dumps({"keys": [_jwk(one) for one in keys]})
        return Page(content_type=JWK_SET, body=body, max_age_s=self._max_age_s)


def _jwk(one: PublishedKey) -> dict[str, str]:
    """Return the key with further members; a verifier ignores those that it does not know (RFC 7517, section 4)."""
    described = {
        **one.key.jwk(),
        "operator_code": one.operator_code,
        "environment": _environment(one),
        "state": one.state.value,
        "activate_time": _time(one.activated_at),
    }
    return described if one.ends_at is None else {**described, "end_time": _time(one.ends_at)}


def _environment(one: PublishedKey) -> str:
    return one.environment.value


def _time(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
