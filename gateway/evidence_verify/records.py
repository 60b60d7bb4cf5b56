"""Reads and checks the records of one part of an export: format, hashes and stored signatures.

It also computes the digests of each record's claim, outcome, incidents and conflicts. `chain_comparison` compares them
with the chain.
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

from gateway.evidence_verify.export_format import RECORD, first_invalid_member, to_microseconds
from gateway.evidence_verify.findings import Code, Findings
from gateway.evidence_verify.signatures import verify_ed25519

CHAIN_LINE = b'{"chain_'
ENVIRONMENTS = {"PHOENIX_ENVIRONMENT_SANDBOX": "sandbox", "PHOENIX_ENVIRONMENT_PROD": "prod"}
_NO_DIGEST = bytes(32)
_MALFORMED = (ValueError, TypeError, KeyError, OverflowError, AttributeError)


@dataclass(slots=True, kw_only=True)
class RecordColumns:
    """The records of a part in columns, so that a million records fit into memory.

    `claims` and `outcomes` hold 32 bytes for each record; 32 zeros mean no outcome. `incidents` and `conflicts` hold
    the record's position and a digest; a conflict also has its count.
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
    """Signatures that could not be checked because the key is missing, by key id."""
    key_ids: set[str] = field(default_factory=set)
    omitted_bodies: int = 0
    findings: Findings = field(default_factory=Findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the file: whole lines from `begin` up to, not including, `end`. `keys` are public keys by id."""

    path: Path
    begin: int
    end: int
    operator_code: str
    environment: str
    keys: Mapping[str, bytes]


def read_part(part: Part) -> RecordColumns:
    """Read and check every record of a part. Skips the lines of the chain. Raises: OSError."""
    records = RecordColumns()
    with part.path.open("rb") as stream:
        stream.seek(part.begin)
        position = part.begin
        while position < part.end:
            line = stream.readline()
            if not line:
                break
            position += len(line)
            records.line_count += 1
            if not line.startswith(CHAIN_LINE):
                _read_line(line, records, part)
    return records


def _read_line(line: bytes, records: RecordColumns, part: Part) -> None:
    number = records.line_count
    try:
        record = orjson.loads(line)
    except ValueError:
        records.findings.add(Code.UNREADABLE, "the line is not a JSON object: it was changed or truncated", line=number)
        return
    operation_id = record.get("operation_id", "") if isinstance(record, dict) else ""
    operation_id = operation_id if isinstance(operation_id, str) else ""
    try:
        fault = first_invalid_member(record, RECORD)
        if fault is not None:
            detail = f"member {fault[:40]!r} does not have the format of an export"
            records.findings.add(Code.UNREADABLE, detail, operation_id=operation_id, line=number)
        elif orjson.dumps(record) + b"\n" != line:
            detail = "the line does not have the format of an export: repeated member, blanks, or truncated"
            records.findings.add(Code.UNREADABLE, detail, operation_id=operation_id, line=number)
        _add_record(record, number, records, part)
    except _MALFORMED:
        detail = "a member is missing or invalid"
        records.findings.add(Code.UNREADABLE, detail, operation_id=operation_id, line=number)


def _add_record(record: dict[str, Any], number: int, records: RecordColumns, part: Part) -> None:
    """Add the record to the columns. Raises one of _MALFORMED before it adds anything."""
    get = record.get
    move = record["operation"]
    operation_id = record["operation_id"]
    environment = ENVIRONMENTS[record["environment"]]
    received, lease, attempt = (
        to_microseconds(record["receive_time"]),
        to_microseconds(record["lease_expire_time"]),
        get("attempt", 0),
    )
    response = get("response")
    claim = _claim_digest(record, move, environment, received)
    outcome = _NO_DIGEST if response is None else _outcome_digest(record, response)
    incidents = [_incident_digest(operation_id, incident) for incident in get("incidents", ())]
    conflicts = [
        (_conflict_digest(operation_id, conflict), int(conflict["count"])) for conflict in get("conflicts", ())
    ]
    replays = int(get("replay_count", "0"))
    row = array(
        "q", (received, lease, attempt, replays)
    )  # raises for a value that does not fit, before anything is added
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
        wrong(Code.CHANGED, "the record has another operator or environment than the export")
    state = "FINISHED" if response is not None else "IN_PROGRESS" if attempt else "HELD"
    if (money := move.get("amount")) is not None and money.get("currency_code", "") != move.get("currency_code", ""):
        wrong(Code.CHANGED, "the currency of the amount differs from the operation's")
    if record["state"] != f"WALLET_OPERATION_STATE_{state}":
        wrong(Code.CHANGED, f"state does not match the record, which is {state}")
    answer = (response or {}).get("body")
    if answer is not None and sha256(b64decode(answer)).hexdigest() != (response or {}).get("body_sha256"):
        wrong(Code.BODY_CHANGED, "the response body does not match its hash")
    _check_signature(record, "webhook", records, part, wrong)
    for conflict in get("conflicts", ()):
        _check_signature(conflict, "conflicting webhook", records, part, wrong)


def _check_signature(signed: dict[str, Any], what: str, records: RecordColumns, part: Part, wrong: Any) -> None:
    if "request_body" not in signed and what != "webhook":
        records.omitted_bodies += 1  # too large for the export; the store has it
        return
    body = b64decode(signed.get("request_body", ""))
    if sha256(body).hexdigest() != signed.get("request_body_sha256"):
        wrong(Code.BODY_CHANGED, f"the body of the {what} does not match its hash")
    key_id = signed.get("key_id", "")
    records.key_ids.add(key_id)
    key = part.keys.get(key_id)
    if key is None:
        records.unchecked[key_id] += 1
    elif verify_ed25519(key, body, signed.get("signature", "")):
        records.signatures += 1
    else:
        wrong(Code.SIGNATURE_INVALID, f"the signature of the {what} does not verify")


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
            to_microseconds(response["record_time"]),
            get("operator_transaction_id", ""),
            get("operator_reservation_id", ""),
            _balance(get("available_balance")),
            _balance(get("reserved_balance")),
            None if processed is None else to_microseconds(processed),
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
            to_microseconds(incident["receive_time"]),
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
            to_microseconds(conflict["receive_time"]),
            get("request_body_sha256", ""),
            get("signature", ""),
            get("key_id", ""),
            get("first_request_id", ""),
        ]
    )


def _digest(members: list[Any]) -> bytes:
    return sha256(orjson.dumps(members)).digest()
