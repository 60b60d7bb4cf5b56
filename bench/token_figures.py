"""What the gateway's own writer of tokens wins against a JWT library, side by side, with the same Ed25519 in both."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jwt
from jwt.algorithms import OKPAlgorithm

from bench.checks import Faults
from bench.figures import Figure, Measure
from bench.servers import Setup
from gateway.core import jose
from gateway.core.ed25519 import SigningKey, generate_signing_key

BAR_PERCENT = 5.0
ROUNDS = 7
CALLS = 300
_CLAIMS = {
    "iss": "acme", "aud": "pmm_default", "env": "sandbox", "sub": "player-1", "name": "Ada", "currency": "EUR",
    "iat": 1_700_000_000, "exp": 1_700_000_900, "jti": "018f4a3e-0000-7000-8000-000000000000",
}  # fmt: skip


class _SameEd25519(OKPAlgorithm):
    """The library's algorithm with the signatures that the gateway makes and checks."""

    def prepare_key(self, key: Any) -> Any:
        """Take the gateway's keys as they are."""
        return key

    def sign(self, msg: str | bytes, key: Any) -> bytes:
        """Sign as the gateway does."""
        assert isinstance(msg, bytes)
        return SigningKey.sign(key, msg)

    def verify(self, msg: str | bytes, key: Any, sig: str | bytes) -> bool:
        """Verify as the gateway does."""
        assert isinstance(msg, bytes)
        assert isinstance(sig, bytes)
        return bool(key.public.verify(msg, sig))


def own_tokens(setup: Setup, seconds: float) -> list[Figure]:
    """CPU time that the gateway's own writer and reader of a launch token save against PyJWT; at least 5 %."""
    key, _ = generate_signing_key()
    library_key: Any = key
    library = jwt.PyJWS(algorithms=[])
    library.register_algorithm("EdDSA", _SameEd25519())
    reader = jwt.PyJWT()
    reader._jws = library

    def with_library() -> None:
        token = reader.encode(_CLAIMS, library_key, algorithm="EdDSA")
        options: Any = {"verify_exp": False, "verify_aud": False, "verify_iat": False}
        assert reader.decode(token, library_key, algorithms=["EdDSA"], options=options) == _CLAIMS

    def own() -> None:
        jose.check_eddsa(jose.write_eddsa(_CLAIMS, key, with_key_id=False), key.public, _CLAIMS)

    library_us: list[float] = []
    own_us: list[float] = []
    for _ in range(ROUNDS):
        library_us.append(_microseconds(with_library))
        own_us.append(_microseconds(own))
    before, after = statistics.median(library_us), statistics.median(own_us)
    saved = 100 * (1 - after / before)
    faults: Faults = Counter() if saved >= BAR_PERCENT else Counter({f"saves less than {BAR_PERCENT:g} %": 1})
    return [
        Figure(
            name="own_tokens",
            value=saved,
            unit="% of CPU",
            about="CPU time of a launch token that our writer saves against PyJWT with the same Ed25519",
            limit=BAR_PERCENT,
            details={"library_us": round(before, 1), "own_us": round(after, 1)},
            faults=faults,
        )
    ]


def _microseconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        work()
    return (time.process_time() - began) / CALLS * 1e6


FIGURES: dict[str, Measure] = {"own_tokens": own_tokens}
