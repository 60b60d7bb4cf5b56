"""`phoenix-gateway keys`: make a key pair, list the keys of a running gateway, revoke a platform key."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.plain_text import json_line

if TYPE_CHECKING:
    from gateway.v1 import keys_pb2_grpc

WIDTH_OF_A_FILE = 240


def generate(out: Path, at: str | None, *, as_json: bool) -> int:
    """Write a new private key to a new file, print its public half, return the exit code.

    Args: if `out` is a folder, the file is named by the time `at` from which the key is used (None: now). The file is
    complete, or it does not exist.
    """
    from gateway.core.ed25519 import generate_signing_key
    from gateway.keys.sources.version_files import name_for, time_in_name
    from gateway.resilience.atomic_file import create_file

    if out.is_dir():
        used_from = time.time() if at is None else time_in_name(at)
        if used_from is None:
            print("--at: is not a time; write it in UTC, such as 2026-11-21T10:00Z", file=sys.stderr)
            return 2
        out = out / name_for(used_from, ".pem")
    elif at is not None:
        print("--at: --out must be the folder that PREDICTION_LAUNCH_KEY_FILE names", file=sys.stderr)
        return 2
    key, pem = generate_signing_key()
    try:
        create_file(out, pem)
    except OSError as error:
        print(
            f"--out: the file cannot be created ({error.strerror}); name a new file, since a key is never overwritten",
            file=sys.stderr,
        )
        return 1
    public_pem = key.public.spki_pem.decode()
    if as_json:
        print(json_line({"key_id": key.key_id, "public_pem": public_pem, "file": str(out)}))
    else:
        print(f"{public_pem}key id: {key.key_id}")
    print(f"Private key: {out} (mode 0600). Register the public key above with Phoenix.", file=sys.stderr)
    return 0


def list_keys(
    target: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None, *, as_json: bool
) -> int:
    """Print every version of every key that the gateway has, without material; return the exit code."""
    from gateway.v1 import keys_pb2

    def ask(stub: keys_pb2_grpc.KeyServiceStub) -> list[dict[str, Any]]:
        from google.protobuf.json_format import MessageToDict

        answer = stub.ListKeys(keys_pb2.ListKeysRequest(), timeout=10)
        return [MessageToDict(key, preserving_proto_field_name=True) for key in answer.keys]

    def show(rows: list[dict[str, Any]]) -> None:
        if as_json:
            print(json.dumps(rows, indent=2))
        else:
            _print_table(rows)

    return _call(target, ca_file, cert_file, key_file, lambda stub: show(ask(stub)))


def revoke(
    target: str,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    *,
    key_id: str,
    operator: str,
    environment: str,
    as_json: bool,
) -> int:
    """Tell a gateway never to accept one of Phoenix's platform keys again; return the exit code."""
    from gateway.v1 import common_pb2, keys_pb2

    names = {
        "": common_pb2.PHOENIX_ENVIRONMENT_UNSPECIFIED,
        "sandbox": common_pb2.PHOENIX_ENVIRONMENT_SANDBOX,
        "prod": common_pb2.PHOENIX_ENVIRONMENT_PROD,
    }
    if environment not in names:
        print("--environment: is unknown; write sandbox or prod", file=sys.stderr)
        return 2
    request = keys_pb2.RevokePlatformKeyRequest(
        operator_code=operator, environment=names[environment], key_id=key_id.lower()
    )

    def ask(stub: keys_pb2_grpc.KeyServiceStub) -> None:
        answer = stub.RevokePlatformKey(request, timeout=10)
        if as_json:
            print(json_line({"key_id": request.key_id, "was_remembered": answer.was_remembered}))
        else:
            print("revoked" if answer.was_remembered else "revoked; the gateway did not remember this key")

    return _call(target, ca_file, cert_file, key_file, ask)


def _call(
    target: str,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    ask: Callable[[keys_pb2_grpc.KeyServiceStub], None],
) -> int:
    """Ask a gateway's KeyService; return the exit code."""
    import grpc

    from gateway.cli.connect import open_channel, print_failure
    from gateway.cli.options import WrongOptions
    from gateway.v1 import keys_pb2_grpc

    try:
        with open_channel(target, ca_file, cert_file, key_file) as channel:
            ask(keys_pb2_grpc.KeyServiceStub(channel))
    except WrongOptions as error:
        print(error, file=sys.stderr)
        return 2
    except grpc.RpcError as error:
        print_failure(target, error)
        return 1
    return 0


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from gateway.core.plain_text import cell

    table = Table()
    table.add_column("key", no_wrap=True)  # whole: it is what `keys revoke` takes
    for name in ("kind", "owner", "state", "from", "replaced", "over", "source", "version", "age", "note"):
        table.add_column(name, overflow="fold")
    for row in rows:
        kind, state = row.get("kind", "").removeprefix("KEY_KIND_"), row.get("state", "").removeprefix("KEY_STATE_")
        owner = " ".join(
            part for part in (row.get("owner", ""), row.get("environment", "").rpartition("_")[2].lower()) if part
        )
        times = (_second(row.get(name, "")) for name in ("activate_time", "retire_time", "end_time"))
        origin = (row.get("source", ""), row.get("version", ""), _age(row.get("announce_time", "")))
        table.add_row(*map(cell, (row.get("key_id", ""), kind, owner, state, *times, *origin, row.get("note", ""))))
    # A file or a pipe has no width, so lines are not wrapped.
    Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE).print(table)


def _age(time_text: str) -> str:
    """How long ago a version became known, in the largest unit that fits."""
    if not time_text:
        return ""
    seconds = max(time.time() - datetime.fromisoformat(time_text).timestamp(), 0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _second(time_text: str) -> str:
    """A time without fractions of a second."""
    return time_text.partition(".")[0].removesuffix("Z") + "Z" if time_text else ""
