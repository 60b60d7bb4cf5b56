"""Reads records of an export, part by part in several processes: form, hashes, stored signatures, digests.

A digest is over what the chain says of a record's claim, outcome, incidents and conflicts; whether the chain says it
is the ledger's business.
"""

from __future__ import annotations

from array import array
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from gateway.evidence_verify.findings import Code, Findings
from gateway.evidence_verify.record_form import RECORD, first_fault, micros
from gateway.evidence_verify.signatures import verifies

CHAIN_LINE = b'{"chain_'
ENVIRONMENTS = {"PHOENIX_ENVIRONMENT_SANDBOX": "sandbox", "PHOENIX_ENVIRONMENT_PROD": "prod"}
_NO_DIGEST = bytes(32)
_MALFORMED = (ValueError, TypeError, KeyError, OverflowError, AttributeError)


@dataclass(slots=True, kw_only=True)
class Records:
    """What a part of an export holds, in columns: a million records are to fit into memory.

    `claims` and `outcomes` hold 32 bytes for each record; an outcome of zeros is none. `incidents` and `conflicts` name
    the record by its place; a conflict has its count.
    """

    ids: list[str] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("Q"))
    received: array[int] = field(default_factory=lambda: array("q"))
    leases: array[int] = field(default_factory=lambda: array("q"))
    attempts: array[int] = field(default_factory=lambda: array("q"))
    replays: array[int] = field(default_factory=lambda: array("q"))
    claims: bytearray = field(default_factory=bytearray)
    outcomes: bytearray = field(default_factory=bytearray)
    incidents: list[tuple[int, bytes]] = field(default_factory=list)
    conflicts: list[tuple[int, bytes, int]] = field(default_factory=list)
    line_count: int = 0
    signatures: int = 0
    unchecked: Counter[str] = field(default_factory=Counter)
    """Signatures that no key in the export could verify, by key id."""
    key_ids: set[str] = field(default_factory=set)
    omitted_bodies: int = 0
    findings: Findings = field(default_factory=Findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the file: whole lines, from `begin` to before `end`. `keys`: public keys by id."""

    path: Path
    begin: int
    end: int
    operator_code: str
    environment: str
    keys: Mapping[str, bytes]


def read_part(part: Part) -> Records:
    """Read and check every record of a part; lines of the chain are passed over. Raises: OSError."""
    records = Records()
    with part.path.open("rb") as stream:
        stream.seek(part.begin)
        place = part.begin
        while place < part.end:
            line = stream.readline()
            if not line:
                break
            place += len(line)
            records.line_count += 1
            if not line.startswith(CHAIN_LINE):
                _read_line(line, records, part)
    return records


def _read_line(line: bytes, records: Records, part: Part) -> None:
    number = records.line_count
    try:
        record = orjson.loads(line)
    except ValueError:
        records.findings.add(Code.UNREADABLE, "no whole JSON object: changed or cut off", line=number)
        return
    operation_id = record.get("operation_id", "") if isinstance(record, dict) else ""
    operation_id = operation_id if isinstance(operation_id, str) else ""
    try:
        fault = first_fault(record, RECORD)
        if fault is not None:
            detail = f"member {fault[:40]!r} is not as an export writes it"
            records.findings.add(Code.UNREADABLE, detail, operation_id=operation_id, line=number)
        elif orjson.dumps(record) + b"\n" != line:
            detail = "not as an export writes it: a member twice, blanks, or cut off"
            records.findings.add(Code.UNREADABLE, detail, operation_id=operation_id, line=number)
        _take(record, number, records, part)
    except _MALFORMED:
        detail = "members are missing or are not what they should be"
        records.findings.add(Code.UNREADABLE, detail, operation_id=operation_id, line=number)


def _take(record: dict[str, Any], number: int, records: Records, part: Part) -> None:
    """Add the record to the columns; raises one of _MALFORMED before it has added anything."""
    get = record.get
    move = record["operation"]
    operation_id = record["operation_id"]
    environment = ENVIRONMENTS[record["environment"]]
    received, lease, attempt = micros(record["receive_time"]), micros(record["lease_expire_time"]), get("attempt", 0)
    response = get("response")
    claim = _claim_digest(record, move, environment, received)
    outcome = _NO_DIGEST if response is None else _outcome_digest(record, response)
    incidents = [_incident_digest(operation_id, incident) for incident in get("incidents", ())]
    conflicts = [
        (_conflict_digest(operation_id, conflict), int(conflict["count"])) for conflict in get("conflicts", ())
    ]
    replays = int(get("replay_count", "0"))
    row = array("q", (received, lease, attempt, replays))  # raises here what does not fit, before anything is added
    if not isinstance(operation_id, str):
        raise TypeError
    index = len(records.ids)
    records.received.append(row[0])
    records.leases.append(row[1])
    records.attempts.append(row[2])
    records.replays.append(row[3])
    records.lines.append(number)
    records.claims += claim
    records.outcomes += outcome
    records.incidents += [(index, digest) for digest in incidents]
    records.conflicts += [(index, digest, count) for digest, count in conflicts]
    records.ids.append(operation_id)

    def wrong(code: Code, detail: str) -> None:
        records.findings.add(code, detail, operation_id=operation_id, line=number)

    if (record["operator_code"], environment) != (part.operator_code, part.environment):
        wrong(Code.CHANGED, "is of another operator or environment than the export")
    state = "FINISHED" if response is not None else "IN_PROGRESS" if attempt else "HELD"
    if (money := move.get("amount")) is not None and money.get("currency_code", "") != move.get("currency_code", ""):
        wrong(Code.CHANGED, "amount: its currency is not that of the move")
    if record["state"] != f"WALLET_OPERATION_STATE_{state}":
        wrong(Code.CHANGED, f"state: the record is {state}")
    answer = (response or {}).get("body")
    if answer is not None and sha256(b64decode(answer)).hexdigest() != (response or {}).get("body_sha256"):
        wrong(Code.BODY_CHANGED, "response body: its hash is another")
    _check_signed(record, "webhook", records, part, wrong)
    for conflict in get("conflicts", ()):
        _check_signed(conflict, "conflicting webhook", records, part, wrong)


def _check_signed(signed: dict[str, Any], what: str, records: Records, part: Part, wrong: Any) -> None:
    if "request_body" not in signed and what != "webhook":
        records.omitted_bodies += 1  # the store has it: too large together with the others
        return
    body = b64decode(signed.get("request_body", ""))
    if sha256(body).hexdigest() != signed.get("request_body_sha256"):
        wrong(Code.BODY_CHANGED, f"body of the {what}: its hash is another")
    key_id = signed.get("key_id", "")
    records.key_ids.add(key_id)
    key = part.keys.get(key_id)
    if key is None:
        records.unchecked[key_id] += 1
    elif verifies(key, body, signed.get("signature", "")):
        records.signatures += 1
    else:
        wrong(Code.SIGNATURE_INVALID, f"signature of the {what} does not verify")


def _claim_digest(record: dict[str, Any], move: dict[str, Any], environment: str, received: int) -> bytes:
    get, of_move = record.get, move.get
    money = of_move("amount")
    return _digest(
        [
            record["operation_id"],
            record["operator_code"],
            environment,
            of_move("operation", ""),
            of_move("idempotency_key", ""),
            received,
            of_move("player_id", ""),
            of_move("currency_code", ""),
            None if money is None else money.get("amount", ""),
            of_move("amount_json", ""),
            of_move("references_json", ""),
            of_move("reason", ""),
            get("request_body_sha256", ""),
            get("signature", ""),
            get("key_id", ""),
            get("first_request_id", ""),
            get("suspect_replay", False),
            get("probed_before", False),
        ]
    )


def _outcome_digest(record: dict[str, Any], response: dict[str, Any]) -> bytes:
    get = record.get
    processed = get("process_time")
    return _digest(
        [
            record["operation_id"],
            response.get("status", 0),
            response.get("body_sha256", ""),
            "body" in response,
            micros(response["record_time"]),
            get("operator_transaction_id", ""),
            get("operator_reservation_id", ""),
            _balance(get("available_balance")),
            _balance(get("reserved_balance")),
            None if processed is None else micros(processed),
        ]
    )


def _balance(money: dict[str, str] | None) -> list[str] | None:
    return None if money is None else [money.get("amount", ""), money.get("currency_code", "")]


def _incident_digest(operation_id: str, incident: dict[str, Any]) -> bytes:
    get = incident.get
    return _digest(
        [
            operation_id,
            get("reason", ""),
            micros(incident["receive_time"]),
            get("attempt", 0),
            get("response_status", 0),
            get("response_body_sha256", ""),
            get("operator_transaction_id", ""),
        ]
    )


def _conflict_digest(operation_id: str, conflict: dict[str, Any]) -> bytes:
    get = conflict.get
    return _digest(
        [
            operation_id,
            micros(conflict["receive_time"]),
            get("request_body_sha256", ""),
            get("signature", ""),
            get("key_id", ""),
            get("first_request_id", ""),
        ]
    )


def _digest(members: list[Any]) -> bytes:
    return sha256(orjson.dumps(members)).digest()
