"""`phoenix-gateway explain ID`: asks a gateway's admin port what happened, and prints it for a person."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.cli.options import WrongOptions
from gateway.cli.tls_files import client_context
from gateway.core.plain_text import json_page, plain
from gateway.core.story_text import (
    NOT_FOUND_ADVICE,
    blocks_of,
    form_of,
    id_in,
    is_found,
    other_spelling,
    searched_lines,
)

NOT_FOUND = 1
UNUSABLE = 2
ANSWER_WITHIN_S = 10.0


def run(
    pasted: str, admin: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None, *, as_json: bool
) -> int:
    """Print the story of an id; return the exit code."""
    wanted = id_in(pasted)
    if not wanted or len(wanted) > 256:
        print("give one id of 1 to 256 characters, such as an x-request-id", file=sys.stderr)
        return UNUSABLE
    try:
        report = _ask(admin, wanted, ca_file, cert_file, key_file)
        if not is_found(report) and (other := other_spelling(wanted)):
            report = _ask(admin, other, ca_file, cert_file, key_file)
    except WrongOptions as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        print(f"{plain(admin)}: the admin port of a gateway does not answer ({plain(why)})", file=sys.stderr)
        print(
            "Give the address of GATEWAY_ADMIN_LISTEN with --admin, and --ca-file, --cert-file and --key-file if it"
            " uses TLS. A reason or verdict, such as RATE_LIMITED, is explained without a gateway.",
            file=sys.stderr,
        )
        return UNUSABLE
    if as_json:
        print(json_page(dict(report)))
    else:
        print("\n".join(plain(line) for line in _lines(report)))
    return 0 if is_found(report) else NOT_FOUND


def _ask(
    admin: str, wanted: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None
) -> Mapping[str, Any]:
    """Return the report. Raises: OSError, HTTPException; ValueError for an answer that is none of a gateway."""
    connection = _connection(admin, ca_file, cert_file, key_file)
    try:
        connection.request("GET", f"/explain?id={quote(wanted, safe='')}")
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status == 403 and b"client_auth_required" in body:
        raise ValueError(
            "this port serves TLS without client certificates, so it does not explain calls: set"
            " GATEWAY_ADMIN_CLIENT_AUTH=metrics and a client CA, or use a loopback port or a Unix socket"
        )
    if answer.status == 403:
        raise ValueError("it asks for a client certificate: give --cert-file and --key-file")
    if answer.status == 404:
        raise ValueError("this gateway is older than this program, and cannot explain calls")
    report = json.loads(body)
    if answer.status != 200 or not isinstance(report, dict) or "stories" not in report:
        raise ValueError(f"what answers is not the admin port of a gateway: HTTP {answer.status}")
    return report


def _connection(
    admin: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None
) -> http.client.HTTPConnection:
    if admin.startswith("unix:"):
        connection = http.client.HTTPConnection("gateway", timeout=ANSWER_WITHIN_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(ANSWER_WITHIN_S)
        connection.sock.connect(admin.removeprefix("unix:"))
        return connection
    host, colon, port = admin.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError("the address must be host:port or unix:path")
    host = host.removeprefix("[").removesuffix("]")
    context = client_context(ca_file, cert_file, key_file)
    if context is None:
        return http.client.HTTPConnection(host, int(port), timeout=ANSWER_WITHIN_S)
    return http.client.HTTPSConnection(host, int(port), timeout=ANSWER_WITHIN_S, context=context)


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    wanted = report["id"]
    if not is_found(report):
        yield f"{wanted}: not found."
        yield f"It looks like {form_of(wanted)}."
        yield "Searched:"
        yield from (f"  {line}" for line in searched_lines(report))
        yield NOT_FOUND_ADVICE
        return
    for place, block in enumerate(blocks_of(report, time.time())):
        if place:
            yield ""
        yield block.head
        yield from (f"  {name:<11} {value}" for name, value in block.rows)
