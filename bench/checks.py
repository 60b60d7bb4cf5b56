"""Checks of the answers. They use nothing of the gateway but its messages.

Each check takes all answers of a load and returns the faults with their counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import jwt
from google.protobuf.message import DecodeError

from bench.credentials import EMBED_URL, OPERATOR_CODE, Credentials
from bench.payloads import BATCH, CURRENCY, PLAYER, TTL_S, echo
from gateway.v1 import events_pb2, tokens_pb2, wallet_pb2

Faults = Counter[str]
BACKDATE_S = 5
"""By which the gateway and G set `iat` back."""


def echoes(credentials: Credentials, answers: Sequence[bytes]) -> Faults:
    """Check that each answer is the request."""
    (sent,) = echo(credentials, 1)
    return Counter("not the request" for answer in answers if answer != sent)


def launch_tokens(credentials: Credentials, answers: Sequence[bytes]) -> Faults:
    """Check that each token verifies with the operator's public key, has the requested claims and is in embed_url."""
    faults: Faults = Counter()
    for answer in answers:
        try:
            response = tokens_pb2.MintLaunchJWTResponse.FromString(answer)
            claims = jwt.decode(response.token, credentials.launch_public, algorithms=["EdDSA"], audience="pmm_default")
        except (DecodeError, jwt.InvalidTokenError) as fault:
            faults[f"token: {type(fault).__name__}"] += 1
            continue
        said = (claims["iss"], claims["env"], claims["sub"], claims["currency"])
        if said != (OPERATOR_CODE, "sandbox", PLAYER, CURRENCY):
            faults["token: other claims"] += 1
        if claims["exp"] - claims["iat"] not in (TTL_S, TTL_S + BACKDATE_S):  # N does not set `iat` back
            faults["token: another lifetime"] += 1
        if response.embed_url != f"{EMBED_URL}/o/{OPERATOR_CODE}?token={response.token}":
            faults["embed_url"] += 1
    return faults


def accepted_events(credentials: Credentials, answers: Sequence[bytes]) -> Faults:
    """Check that each event is accepted and has a unique id."""
    faults: Faults = Counter()
    ids: set[str] = set()
    for answer in answers:
        response = events_pb2.SubmitEventResponse.FromString(answer)
        if response.status != events_pb2.EVENT_STATUS_ACCEPTED:
            faults["not accepted"] += 1
        ids.add(response.event_id)
    if len(ids) != len(answers) or "" in ids:
        faults["event ids not unique"] += 1
    return faults


def accepted_batches(credentials: Credentials, answers: Sequence[bytes]) -> Faults:
    """Check that each event of each batch is accepted and has a unique id."""
    faults: Faults = Counter()
    ids: set[str] = set()
    for answer in answers:
        results = events_pb2.SubmitEventsResponse.FromString(answer).results
        if len(results) != BATCH:
            faults["results missing"] += 1
        if any(result.status != events_pb2.EVENT_STATUS_ACCEPTED for result in results):
            faults["not accepted"] += 1
        ids.update(result.event_id for result in results)
    if len(ids) != len(answers) * BATCH or "" in ids:
        faults["event ids not unique"] += 1
    return faults


def claimed_moves(credentials: Credentials, answers: Sequence[bytes]) -> Faults:
    """Check that each operation is verified, NEW and the first attempt, with a unique id and body."""
    faults: Faults = Counter()
    operations: set[str] = set()
    bodies: set[str] = set()
    for answer in answers:
        response = wallet_pb2.VerifyWalletResponse.FromString(answer)
        if response.verdict != wallet_pb2.WALLET_VERDICT_VERIFIED:
            faults[f"verdict {wallet_pb2.WalletVerdict.Name(response.verdict)}"] += 1
        elif response.disposition != wallet_pb2.WALLET_DISPOSITION_NEW or response.attempt != 1:
            faults[f"disposition {wallet_pb2.WalletDisposition.Name(response.disposition)}"] += 1
        operations.add(response.operation_id)
        bodies.add(response.request_body_sha256)
    if len(operations) != len(answers) or "" in operations:
        faults["operation ids not unique"] += 1
    if len(bodies) != len(answers):
        faults["bodies mixed up"] += 1
    return faults


def balances(credentials: Credentials, answers: Sequence[bytes]) -> Faults:
    """Check that each balance request is verified, names the player and claims no operation."""
    faults: Faults = Counter()
    for answer in answers:
        response = wallet_pb2.VerifyWalletResponse.FromString(answer)
        if response.verdict != wallet_pb2.WALLET_VERDICT_VERIFIED:
            faults[f"verdict {wallet_pb2.WalletVerdict.Name(response.verdict)}"] += 1
        elif response.disposition != wallet_pb2.WALLET_DISPOSITION_NOT_A_MOVE:
            faults[f"disposition {wallet_pb2.WalletDisposition.Name(response.disposition)}"] += 1
        elif (response.operation.player_id, response.operation_id) != (PLAYER, ""):
            faults["another player, or a claim"] += 1
    return faults


def refused_forgeries(credentials: Credentials, answers: Sequence[bytes]) -> Faults:
    """Check that each forgery is BAD_SIGNATURE with the 401 that Phoenix expects, and has no operation."""
    faults: Faults = Counter()
    for answer in answers:
        response = wallet_pb2.VerifyWalletResponse.FromString(answer)
        if response.verdict != wallet_pb2.WALLET_VERDICT_BAD_SIGNATURE:
            faults[f"verdict {wallet_pb2.WalletVerdict.Name(response.verdict)}"] += 1
        elif (response.reply.status, response.reply.body) != (401, b'{"error":"bad_signature"}'):
            faults["another reply"] += 1
        elif response.operation_id:
            faults["an operation for a forgery"] += 1
    return faults
