"""The commands of `phoenix-gateway` and their options. The modules beside this one do the work.

No option takes a secret: secrets come from the environment, files or TOML. Source: API.md, "Running it".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway.cli.client_commands import call, explain, top, watch
from gateway.cli.events import events_app
from gateway.cli.evidence import evidence_app
from gateway.cli.examples import epilog
from gateway.cli.key_commands import keys_app
from gateway.cli.options import CA_FILE, CERT_FILE, CONFIG, JSON, KEY_FILE, TARGET
from gateway.cli.policy import policy_app

app = typer.Typer(
    name="phoenix-gateway",
    help="One internal gRPC service in front of Phoenix. Settings are environment variables: docs/configuration.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with local variables would show secrets
    rich_markup_mode=None,
)
app.add_typer(keys_app, name="keys")
app.add_typer(evidence_app, name="evidence")
app.add_typer(policy_app, name="policy")
app.add_typer(events_app, name="events")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        print(f"phoenix-gateway {version('phoenix-gateway')} (Python {sys.version.split()[0]})")
        raise typer.Exit


@app.callback()
def program(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            help="Take all settings from this file, none from the environment and .env.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """One internal gRPC service in front of Phoenix. Settings are environment variables: docs/configuration.md."""
    if env_file is not None:
        from gateway.cli.env_file import use

        use(env_file)


@app.command()
def serve(config: Annotated[Path | None, CONFIG] = None) -> None:
    """Serve gRPC until SIGTERM or Ctrl-C. Exit code 2: the configuration cannot be used."""
    from gateway.cli.serve import run

    raise typer.Exit(run(config))


@app.command()
def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on; off loopback only with TLS.")] = "127.0.0.1",
    port_base: Annotated[int, typer.Option(help="First of five ports; 0 takes free ones.")] = 0,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="JSON file to write when it serves.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with [[tenants]] and [[operators]].")] = None,
) -> None:
    """Serve a local Phoenix for development, demonstrations and tests. Every answer says that it is not Phoenix."""
    import os

    from gateway.sandbox.main import run
    from gateway.sandbox.options import OptionsInvalid, read_options

    try:
        options = read_options(
            os.environ,
            host=host,
            port_base=port_base,
            tls_cert=tls_cert,
            tls_key=tls_key,
            ready_file=ready_file,
            config=config,
        )
    except OptionsInvalid as invalid:
        for fault in invalid.faults:
            print(f"sandbox: {fault}", file=sys.stderr)
        raise typer.Exit(2) from None
    raise typer.Exit(run(options))


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the gateway; 0 takes a free one.", min=0, max=65535)] = 50051,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="Fault of the sandbox: surface=ingestion,kind=status,status=503. Repeatable."),
    ] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="Stop when standard input is closed, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the addresses as one line of JSON.")] = False,
) -> None:
    """Serve a sandbox and a gateway in one process until Ctrl-C, with secrets of its own. It keeps nothing.

    Example: phoenix-gateway dev --port 0 --json. Exit code 1: the port is taken; 2: a fault is wrong.
    """
    from gateway.cli.dev import run

    raise typer.Exit(run(port=port, faults=fault or [], with_parent=with_parent, as_json=as_json))


@app.command()
def smoke(
    target: Annotated[str | None, TARGET] = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control", help="Control URL of a sandbox: runs the webhook steps too.", envvar="GATEWAY_TARGET_CONTROL"
        ),
    ] = None,
    board: Annotated[str, typer.Option(help="Leaderboard to create or confirm.")] = "gateway-smoke",
    currency: Annotated[str, typer.Option(help="Currency of the player's launch token.")] = "EUR",
    tenant: Annotated[str, typer.Option(help="Tenant; empty: the only one.")] = "",
    operator: Annotated[str, typer.Option(help="Operator code; empty: the only one.")] = "",
    environment: Annotated[str, typer.Option(help="sandbox or prod; empty: the only one.")] = "",
    read_within: Annotated[float, typer.Option(help="Seconds until the event must be readable.", min=0)] = 30.0,
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    config: Annotated[Path | None, CONFIG] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Run Phoenix's Getting Started through a gateway. Exit code 0: every step passed.

    Without --target it starts its own gateway on free ports, with the settings of the environment.
    """
    from gateway.cli.smoke_command import Choice, run

    choice = Choice(
        board=board,
        currency=currency,
        tenant_id=tenant,
        operator_code=operator,
        environment=environment,
        read_within_s=read_within,
        control_url=control,
    )
    raise typer.Exit(run(choice, target, ca_file, cert_file, key_file, config, as_json=as_json))


@app.command()
def doctor(
    prove_events: Annotated[
        str | None, typer.Option(help="Find out on this board what Phoenix does with events.", metavar="BOARD")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Tenant of --prove-events; empty: the only one.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Use that board even if it has entries.")] = False,
    config: Annotated[Path | None, CONFIG] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Check settings, keys, Phoenix, stores and this machine, and say how to correct each fault.

    Exit code 0: fine, or warnings only; 1: a fault; 2: the configuration cannot be read.
    """
    from gateway.cli.doctor import run

    raise typer.Exit(run(config, prove_events, tenant, use_filled=yes, as_json=as_json))


for _command in (watch, top, call):
    app.command()(_command)

TARGET_NAME = typer.Argument(
    help="Method, service, tenant, operator[/environment] or caller; or with its kind, such as caller:game.",
    metavar="TARGET",
)


@app.command()
def disable(
    what: Annotated[str, TARGET_NAME] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; shown in the audit log and on the admin port.")] = "",
    config: Annotated[Path | None, CONFIG] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Switch off a method, tenant, operator or caller on all replicas; without TARGET, show what is off.

    Needs the settings of `serve`. With Redis, every replica follows within a second; without Redis, every gateway that
    uses the same GATEWAY_DATA_DIR or PostgreSQL. Exit code 1: it could not be written; 2: wrong target or settings.
    """
    from gateway.cli.switch import run, show

    if not what:
        raise typer.Exit(show(config, as_json=as_json))
    if not reason.strip():
        print("--reason: is missing; say why you switch it off", file=sys.stderr)
        raise typer.Exit(2)
    raise typer.Exit(run(config, what, reason.strip(), is_off=True, as_json=as_json))


@app.command()
def enable(
    what: Annotated[str, TARGET_NAME],
    reason: Annotated[str, typer.Option("--reason", help="Why; shown in the audit log.")] = "",
    config: Annotated[Path | None, CONFIG] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Switch a target on again."""
    from gateway.cli.switch import run

    raise typer.Exit(run(config, what, reason.strip(), is_off=False, as_json=as_json))


app.command()(explain)


def _add_examples(group: typer.Typer, path: str = "") -> None:
    for command in group.registered_commands:
        own = command.name or getattr(command.callback, "__name__", "")
        command.epilog = epilog(f"{path} {own}".strip())
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _add_examples(inner.typer_instance, str(inner.name))


_add_examples(app)


def main() -> NoReturn:
    """Run the command that the arguments name; the console script."""
    app()
    raise SystemExit(0)
