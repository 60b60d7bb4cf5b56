"""The commands of `phoenix-gateway keys` and their options. `keys.py` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import CA_FILE, CERT_FILE, JSON, KEY_FILE, TARGET

keys_app = typer.Typer(help="Make and look at keys.", no_args_is_help=True, rich_markup_mode=None)


@keys_app.command("generate")
def keys_generate(
    out: Annotated[
        Path,
        typer.Option(
            help="New file for the private key (PKCS#8 PEM, mode 0600), or the folder of its versions.", metavar="PATH"
        ),
    ],
    at: Annotated[
        str | None, typer.Option(help="In a folder: use the key from this time (UTC) on. Default: now.", metavar="TIME")
    ] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Generate an operator's Ed25519 key pair and print the public half, to register with Phoenix."""
    from gateway.cli.keys import generate

    raise typer.Exit(generate(out, at, as_json=as_json))


@keys_app.command("list")
def keys_list(
    target: Annotated[str, TARGET] = "127.0.0.1:50051",
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """List every version of the keys of a running gateway, without their material."""
    from gateway.cli.keys import list_keys

    raise typer.Exit(list_keys(target, ca_file, cert_file, key_file, as_json=as_json))


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[
        str, typer.Argument(help="Fingerprint of the platform key, as keys list shows it.", metavar="KEY_ID")
    ],
    target: Annotated[str, TARGET] = "127.0.0.1:50051",
    operator: Annotated[str, typer.Option(help="Operator code; empty: the only one.")] = "",
    environment: Annotated[str, typer.Option(help="sandbox or prod; empty: the only one.")] = "",
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Revoke a replaced platform key of Phoenix: calls that only it verifies are refused permanently."""
    from gateway.cli.keys import revoke

    raise typer.Exit(
        revoke(
            target,
            ca_file,
            cert_file,
            key_file,
            key_id=key_id,
            operator=operator,
            environment=environment,
            as_json=as_json,
        )
    )
