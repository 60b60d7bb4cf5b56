"""`phoenix-gateway evidence`: exports, verifies and reconciles the evidence of money moves.

evidence_stream reads from the gateway, evidence_files writes files, evidence_tables prints the report.
"""

from __future__ import annotations

import enum
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import CA_FILE, CERT_FILE, JSON, KEY_FILE, TARGET

if TYPE_CHECKING:
    from gateway.cli.evidence_stream import ExportOptions

evidence_app = typer.Typer(
    help="Export and reconcile the evidence of money moves.", no_args_is_help=True, rich_markup_mode=None
)
FAILED, WRONG_OPTIONS = 1, 2


class Environment(enum.Enum):
    """One file or report never mixes the two."""

    SANDBOX = "sandbox"
    PROD = "prod"


class Format(enum.Enum):
    """Form of an export: `jsonl` holds everything, `csv` omits bodies and signatures."""

    CSV = "csv"
    JSONL = "jsonl"


ENVIRONMENT = typer.Option("--environment", help="sandbox or prod. Default: the only one.")
OPERATOR = typer.Option("--operator", help="Operator code; empty: the only one.")
FROM = typer.Option("--from", help="Received at this time or later, such as 2026-11-01 or 2026-11-01T12:00Z (UTC).")
TO = typer.Option("--to", help="Received before this time. Default: now.")


@evidence_app.command("export")
def export(
    target: Annotated[str, TARGET] = "127.0.0.1:50051",
    start: Annotated[str | None, FROM] = None,
    end: Annotated[str | None, TO] = None,
    environment: Annotated[Environment | None, ENVIRONMENT] = None,
    operator: Annotated[str, OPERATOR] = "",
    form: Annotated[
        Format, typer.Option("--format", help="jsonl with everything, or csv without bodies.")
    ] = Format.JSONL,
    out: Annotated[
        Path | None, typer.Option("--out", help="File; it exists only when it is complete. Default: standard output.")
    ] = None,
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
) -> None:
    """Write the evidence in the order of its receipt. An interrupted stream resumes."""
    from gateway.cli.evidence_files import export_to

    options = _options(operator, environment, start, end, omit_bodies=form is Format.CSV, chain=form is Format.JSONL)
    raise typer.Exit(export_to(out, form.value, options, target, (ca_file, cert_file, key_file)))


@evidence_app.command("verify")
def verify(
    export: Annotated[Path, typer.Argument(help="What `evidence export --format jsonl` wrote.", metavar="EXPORT")],
    head: Annotated[
        list[Path] | None,
        typer.Option("--head", help="A head stored elsewhere: /evidence/head of an admin port, or log lines."),
    ] = None,
    key: Annotated[
        list[Path] | None, typer.Option("--key", help="Public key (SPKI PEM) that the gateway is known to sign with.")
    ] = None,
    platform_key: Annotated[
        list[Path] | None,
        typer.Option("--platform-key", help="Public key of Phoenix (SPKI PEM) that is not in the export."),
    ] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Prove offline that an export was not changed, removed from or reordered; with --head, nor cut off.

    Exit code 0: proven, as far as the output says; 1: tampered with, and where; 2: the input cannot be used.
    """
    from gateway.evidence_verify.command import run

    raise typer.Exit(run(export, head or [], key or [], platform_key or [], as_json=as_json))


@evidence_app.command("list")
def list_evidence(
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="Signed webhooks that the gateway could not read. Required.")
    ] = False,
    settled: Annotated[bool, typer.Option("--settled", help="Also those that a person has settled.")] = False,
    target: Annotated[str, TARGET] = "127.0.0.1:50051",
    environment: Annotated[Environment | None, ENVIRONMENT] = None,
    operator: Annotated[str, OPERATOR] = "",
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Print the webhooks that wait for a person, with body, hash and the reason.

    Phoenix is answered 503 for them. docs/wallet.md says how to settle one.
    """
    from gateway.cli.evidence_unreadable import list_unreadable

    if not unreadable:
        print("--unreadable: is missing; moves that were read are in `evidence export` and `report`", file=sys.stderr)
        raise typer.Exit(WRONG_OPTIONS)
    name = None if environment is None else environment.value
    tls = (ca_file, cert_file, key_file)
    raise typer.Exit(list_unreadable(operator, name, target, tls, include_settled=settled, as_json=as_json))


@evidence_app.command("settle")
def settle(
    webhook_id: Annotated[str, typer.Argument(help="Id from `evidence list --unreadable`.", metavar="ID")],
    sha256: Annotated[str, typer.Option("--sha256", help="Its hash: shows that you looked at this body.")],
    status: Annotated[
        int, typer.Option("--status", help="HTTP status for Phoenix: 200 booked, 422 refused.", min=200, max=499)
    ],
    response: Annotated[Path, typer.Option("--response", help="File with the body for Phoenix.", metavar="FILE")],
    note: Annotated[str, typer.Option("--note", help="Why: the ledger's transaction, the ticket.")],
    target: Annotated[str, TARGET] = "127.0.0.1:50051",
    environment: Annotated[Environment | None, ENVIRONMENT] = None,
    operator: Annotated[str, OPERATOR] = "",
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Settle a webhook that the gateway could not read: decide what Phoenix is answered from now on.

    First book the move in the wallet's ledger, or decide to refuse it. The gateway never hands a settled webhook to a
    wallet. It cannot be undone. Exit code 1: not settled; 2: wrong options or files.
    """
    from gateway.cli.evidence_unreadable import settle as settle_webhook
    from gateway.v1 import wallet_pb2

    request = wallet_pb2.SettleUnreadableWebhookRequest(
        operator_code=operator, webhook_id=webhook_id, request_body_sha256=sha256, response_status=status, note=note
    )
    name = None if environment is None else environment.value
    raise typer.Exit(settle_webhook(request, name, response, target, (ca_file, cert_file, key_file), as_json=as_json))


@evidence_app.command("report")
def report(
    target: Annotated[str, TARGET] = "127.0.0.1:50051",
    start: Annotated[str | None, FROM] = None,
    end: Annotated[str | None, TO] = None,
    environment: Annotated[Environment | None, ENVIRONMENT] = None,
    operator: Annotated[str, OPERATOR] = "",
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Print counts and sums of the money moves, and the moves that need a check.

    Exit code 0: a report; 3: a report with an order whose captures and releases exceed its reservation; 1: no report.
    """
    from gateway.cli.evidence_tables import report_on

    options = _options(operator, environment, start, end, omit_bodies=True)
    raise typer.Exit(report_on(options, target, (ca_file, cert_file, key_file), as_json=as_json))


def _options(
    operator: str,
    environment: Environment | None,
    start: str | None,
    end: str | None,
    *,
    omit_bodies: bool,
    chain: bool = False,
) -> ExportOptions:
    from gateway.cli.evidence_stream import ExportOptions

    return ExportOptions(
        operator_code=operator,
        environment=None if environment is None else environment.value,
        start=None if start is None else _time("--from", start),
        end=datetime.now(UTC) if end is None else _time("--to", end),
        omit_bodies=omit_bodies,
        include_chain=chain,
    )


def _time(option: str, text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
        return (read.replace(tzinfo=UTC) if read.tzinfo is None else read).astimezone(UTC)
    except (ValueError, OverflowError):
        print(
            f"{option}: is not a time; write a date or time such as 2026-11-01 or 2026-11-01T12:00:00Z", file=sys.stderr
        )
        raise typer.Exit(WRONG_OPTIONS) from None
