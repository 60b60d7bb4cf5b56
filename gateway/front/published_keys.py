"""The public halves of operator keys over HTTP: JWK sets and PEM, for whoever verifies launch tokens.

`/keys/jwks.json` holds the keys of all operator environments, `/keys/OPERATOR/ENVIRONMENT/jwks.json` those of one: a
verifier takes the latter, so that one operator's key never verifies another's token. `/keys/KEY_ID.pem` is one of
them. Each set holds what is announced, active and retiring; whoever fetches it again within the time that
`Cache-Control` allows knows every key before it signs. Source: issue 8, point 3; RFC 7517, RFC 8037.
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
"""How long a replica may take until it shows a file that was laid down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a path of the admin port answers with; `max_age_s`: how long it may be kept."""

    content_type: str
    body: bytes
    max_age_s: int = 0


class PublishedKeys:
    """Answers the paths below /keys/."""

    def __init__(self, published: Callable[[], Sequence[PublishedKey]], *, lead_s: float) -> None:
        """Show what `published` says. `lead_s`: the shortest time for which a key is shown before it signs."""
        self._published = published
        # Half of what is left when every replica shows it: a verifier's fetch may fail once.
        self._max_age_s = max(0, int((lead_s - SEEN_WITHIN_S) / 2))

    def page(self, raw_path: str) -> Page | None:
        """Return the page of a path as sent, percent-encoded; None where there is none."""
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
    """The key with what a verifier should know of it; members that it does not know it ignores (RFC 7517, 4)."""
    told = {
        **one.key.jwk(),
        "operator_code": one.operator_code,
        "environment": _environment(one),
        "state": one.state.value,
        "activate_time": _time(one.activated_at),
    }
    return told if one.ends_at is None else {**told, "end_time": _time(one.ends_at)}


def _environment(one: PublishedKey) -> str:
    return one.environment.value


def _time(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
