"""Launch tokens in batches of 100, compared with the rate of Ed25519 signing alone on the same core."""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence

import jwt
from google.protobuf.message import DecodeError

from bench.cases import TOKEN_SERVICE
from bench.checks import Faults
from bench.credentials import OPERATOR_CODE, Credentials
from bench.figures import Figure, Measure
from bench.loads import with_frames, with_h2load
from bench.payloads import BATCH, CURRENCY, PLAYER
from bench.servers import Setup, start_gateway, start_upstream
from gateway.v1 import common_pb2, tokens_pb2

BAR = 0.6
ROUNDS = 3
SIGNED_BYTES = 300
"""About the size of a token's header and claims."""
WARM_UP_S = 1.0


def batch_mint(setup: Setup, seconds: float) -> list[Figure]:
    """Tokens per second of BatchMintLaunchJWT with 100 requests, divided by signatures per second; at least 0.6."""
    upstream = start_upstream(setup)
    gateway = start_gateway(setup, upstream, TOKEN_SERVICE)
    path, request = f"/{TOKEN_SERVICE}/BatchMintLaunchJWT", batch_request()
    warm, answers = with_frames(setup, gateway, path, [request], WARM_UP_S, cycle=True, keep=True, streams=1)
    faults = warm.faults + check_tokens(setup.credentials, answers)
    lengths = [len(answer) for answer in answers] or [0]
    rates: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS):
        measured = with_h2load(setup, gateway, path, request, seconds, (min(lengths), max(lengths)), 1)
        faults += measured.faults
        rates.append(measured.per_s * BATCH)
        bare.append(signing_rate(setup, seconds))
    ratio = statistics.median(rates) / statistics.median(bare)
    if ratio < BAR:
        faults[f"below {BAR} of the signing rate"] += 1
    return [
        Figure(
            name="batch_mint",
            value=ratio,
            unit="of signing alone",
            about="tokens in batches of 100, divided by signatures of libsodium alone; all claims are checked",
            limit=BAR,
            details={"tokens_per_s": rates, "signatures_per_s": bare},
            faults=faults,
        )
    ]


def batch_request() -> bytes:
    """Return a request for the tokens of 100 players."""
    request = tokens_pb2.BatchMintLaunchJWTRequest()
    for number in range(BATCH):
        one = request.requests.add(
            operator_code=OPERATOR_CODE,
            environment=common_pb2.PHOENIX_ENVIRONMENT_SANDBOX,
            player=tokens_pb2.PlayerSession(player_id=f"{PLAYER}-{number}", currency=CURRENCY),
        )
        one.ttl.seconds = 300
    return request.SerializeToString()


def check_tokens(credentials: Credentials, answers: Sequence[bytes]) -> Faults:
    """Check that each result holds its player's token and that the operator's key verifies it."""
    faults: Faults = Counter()
    for answer in answers[:20]:
        results = tokens_pb2.BatchMintLaunchJWTResponse.FromString(answer).results
        if len(results) != BATCH:
            faults["results missing"] += 1
        for number, result in enumerate(results):
            try:
                claims = jwt.decode(
                    result.response.token, credentials.launch_public, algorithms=["EdDSA"], audience="pmm_default"
                )
            except (DecodeError, jwt.InvalidTokenError) as fault:
                faults[f"token: {type(fault).__name__}"] += 1
                continue
            if claims["sub"] != f"{PLAYER}-{number}":
                faults["another player's token"] += 1
    return faults


def signing_rate(setup: Setup, seconds: float) -> float:
    """Return the signatures per second of a separate process on the server's core."""
    process, _ = setup.workspace.start("signing", ["-m", "bench.mint_figures", str(seconds)], {}, setup.server_core)
    while not process.has_ended():
        time.sleep(0.05)
    return float(process.log.read_text(encoding="ascii").split()[-1])


def _sign_for(seconds: float) -> float:
    """Only sign, with the gateway's library and no other work. Return signatures per second."""
    from nacl.bindings import crypto_sign, crypto_sign_keypair

    _, secret = crypto_sign_keypair()
    message = bytes(SIGNED_BYTES)
    count, began = 0, time.perf_counter()
    until = began + seconds
    while (now := time.perf_counter()) < until:
        for _ in range(100):
            crypto_sign(message, secret)
        count += 100
    return count / (now - began)


FIGURES: dict[str, Measure] = {"batch_mint": batch_mint}

if __name__ == "__main__":
    sys.stdout.write(f"{_sign_for(float(sys.argv[1]))}\n")
