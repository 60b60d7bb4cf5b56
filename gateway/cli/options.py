"""Options that more than one command takes."""

from __future__ import annotations

import typer


class WrongOptions(ValueError):
    """An address or a file of TLS cannot be used. The text names the option or the file, and what to do."""


CONFIG = typer.Option("--config", help="TOML file; the same as GATEWAY_CONFIG.", metavar="FILE")
TARGET = typer.Option(
    "--target", help="A running gateway, host:port or unix:path.", metavar="ADDRESS", envvar="GATEWAY_TARGET"
)
CA_FILE = typer.Option(
    "--ca-file",
    help="CA of the gateway's certificate (PEM); switches TLS on.",
    metavar="FILE",
    envvar="GATEWAY_TARGET_CA_FILE",
)
CERT_FILE = typer.Option(
    "--cert-file", help="Own client certificate (PEM).", metavar="FILE", envvar="GATEWAY_TARGET_CERT_FILE"
)
KEY_FILE = typer.Option(
    "--key-file", help="Key of that certificate (PEM).", metavar="FILE", envvar="GATEWAY_TARGET_KEY_FILE"
)
JSON = typer.Option("--json", help="Print JSON instead of a table.")
