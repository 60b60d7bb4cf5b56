"""Options that more than one command takes."""

from __future__ import annotations

import typer

CONFIG = typer.Option("--config", help="TOML file; the same as GATEWAY_CONFIG.", metavar="FILE")
TARGET = typer.Option("--target", help="A running gateway, host:port or unix:path.", metavar="ADDRESS")
CA_FILE = typer.Option("--ca-file", help="CA of the gateway's certificate (PEM); switches TLS on.", metavar="FILE")
CERT_FILE = typer.Option("--cert-file", help="Own client certificate (PEM).", metavar="FILE")
KEY_FILE = typer.Option("--key-file", help="Key of that certificate (PEM).", metavar="FILE")
JSON = typer.Option("--json", help="Print JSON instead of a table.")
