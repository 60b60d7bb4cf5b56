"""The commands that use a running gateway: boards, any method, and what happened to a call.

main.py registers them; the modules beside this one do the work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import CA_FILE, CERT_FILE, JSON, KEY_FILE, TARGET

TENANT = typer.Option("--tenant", help="Tenant; empty: the only one.")
TOP = typer.Option("--top", help="Entries to show, 1 to 1000.", min=1, max=1000)
WINDOW = typer.Option("--window", help="Window key; empty: the active one.")


def watch(
    board: Annotated[str, typer.Argument(help="Leaderboard.", metavar="BOARD")],
    target: Annotated[str, TARGET] = "127.0.0.1:50051",
    tenant: Annotated[str, TENANT] = "",
    top: Annotated[int, TOP] = 20,
    window: Annotated[str, WINDOW] = "",
    count: Annotated[int, typer.Option(help="Stop after this many updates; 0: at Ctrl-C.", min=0)] = 0,
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON per update instead of a table.")
    ] = False,
) -> None:
    """Watch a board live through a running gateway. Reconnects by itself."""
    from gateway.cli.watch import run
    from gateway.v1.leaderboards_pb2 import WatchLeaderboardRequest

    request = WatchLeaderboardRequest(tenant_id=tenant, leaderboard_id=board, page_size=top, window_key=window)
    raise typer.Exit(run(target, ca_file, cert_file, key_file, request, count=count, as_json=as_json))


def top(
    board: Annotated[str, typer.Argument(help="Leaderboard.", metavar="BOARD")],
    target: Annotated[str, TARGET] = "127.0.0.1:50051",
    tenant: Annotated[str, TENANT] = "",
    top: Annotated[int, TOP] = 20,
    window: Annotated[str, WINDOW] = "",
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Print the top of a board once."""
    from gateway.cli.top import run
    from gateway.v1.leaderboards_pb2 import GetLeaderboardRequest

    request = GetLeaderboardRequest(tenant_id=tenant, leaderboard_id=board, page_size=top, window_key=window)
    raise typer.Exit(run(target, ca_file, cert_file, key_file, request, as_json=as_json))


def call(
    method: Annotated[str, typer.Argument(help="SERVICE/METHOD; without it, all are listed.", metavar="METHOD")] = "",
    body: Annotated[str, typer.Argument(help="Request as JSON, @FILE, or - for standard input.", metavar="JSON")] = "",
    target: Annotated[str, TARGET] = "127.0.0.1:50051",
    timeout: Annotated[float, typer.Option(help="Seconds; 0: 15, and no limit for a stream of answers.", min=0)] = 0.0,
    describe: Annotated[bool, typer.Option("--describe", help="Print the fields of the request; do not call.")] = False,
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each answer on one line.")] = False,
) -> None:
    """Call any method of a running gateway with JSON. Needs no grpcurl and no protos.

    Exit code 1: the call failed; 2: the method or the JSON cannot be used.
    """
    from gateway.cli.call import run

    raise typer.Exit(
        run(
            target,
            ca_file,
            cert_file,
            key_file,
            method=method,
            body=body,
            timeout_s=timeout,
            describe=describe,
            as_json=as_json,
        )
    )


def explain(
    what: Annotated[
        str,
        typer.Argument(
            help=(
                "Request id of a call or webhook, event id, operation id, trace id or traceparent; reason or verdict;"
                " empty: list the reasons."
            )
        ),
    ] = "",
    admin: Annotated[
        str,
        typer.Option(
            "--admin",
            envvar="GATEWAY_ADMIN_LISTEN",
            help=(
                "Admin port of a running gateway, host:port or unix:path. The variable may be in the environment or in"
                " the file of --env-file."
            ),
            metavar="ADDRESS",
        ),
    ] = "127.0.0.1:9464",
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Explain what happened to a call, webhook or event of the last hour, and what to do.

    Explains a reason or a wallet verdict, too, without a gateway. Exit code 1: the id was not found.
    """
    from gateway.cli.explain import is_reason, run
    from gateway.cli.explain_story import run as run_story

    if is_reason(what):
        raise typer.Exit(run(what, as_json=as_json))
    raise typer.Exit(run_story(what, admin, ca_file, cert_file, key_file, as_json=as_json))
