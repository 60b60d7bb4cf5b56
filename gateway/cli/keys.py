"""`phoenix-gateway keys`: make a key pair, list the keys of a running gateway."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def generate(out: Path) -> int:
    """Write a new private key to a file that did not exist, print its public half; return the exit code."""
    from gateway.core.ed25519 import generate_signing_key

    key, pem = generate_signing_key()
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        print(f"--out: the file cannot be made ({error.strerror}); a key is never overwritten", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(pem)
    print(key.public.spki_pem.decode(), end="")
    print(f"key id: {key.key_id}")
    print(f"Private key: {out} (mode 0600). Register the public key above with Phoenix.", file=sys.stderr)
    return 0


def list_keys(
    target: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None, *, as_json: bool
) -> int:
    """Print every key that the gateway has, without material; return the exit code."""
    import grpc
    from google.protobuf.json_format import MessageToDict

    from gateway.cli.connect import FilesMissing, in_words, open_channel
    from gateway.v1 import keys_pb2, keys_pb2_grpc

    try:
        with open_channel(target, ca_file, cert_file, key_file) as channel:
            answer = keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=10)
    except FilesMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    except grpc.RpcError as error:
        print(f"{target}: {in_words(error)}", file=sys.stderr)
        return 1
    rows = [MessageToDict(key, preserving_proto_field_name=True) for key in answer.keys]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("key", "kind", "algorithm", "state", "since")
    for row in rows:
        kind, state = row.get("kind", "").removeprefix("KEY_KIND_"), row.get("state", "").removeprefix("KEY_STATE_")
        table.add_row(row.get("key_id", ""), kind, row.get("algorithm", ""), state, row.get("activate_time", ""))
    Console().print(table)
    return 0
