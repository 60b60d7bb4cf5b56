"""`make smoke` and `make run`: start a sandbox and a gateway on this machine, with generated secrets.

`smoke` uses free ports and a temporary folder. `run` keeps its secrets and its store below var/ and runs until Ctrl-C.
Secrets are in files that only their owner can read, and are never printed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from urllib.request import ProxyHandler, Request, build_opener

from gateway.cli.children import Child, ChildFailed, free_port, is_free, start_gateway, start_sandbox
from gateway.cli.dev import settings_with
from gateway.cli.smoke import Choice
from gateway.cli.smoke_command import run_against

ROOT = Path(__file__).resolve().parent.parent
GRPC_PORT, ADMIN_PORT = 50051, 9464
BOARD = "gateway-smoke"
SETTINGS = ("GATEWAY_", "PREDICTION_", "PHOENIX_", "TENANT_", "ADMIN_", "INGESTION_", "QUERY_", "WEBSOCKET_")


def make_secrets(folder: Path) -> dict[str, str]:
    """Return the settings of one tenant and one operator. Their secrets are files in `folder`; create missing ones."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    files = {name: folder / name.lower() for name in ("ADMIN_API_KEY", "ADMIN_API_KEY_ID", "INGESTION_HMAC_SECRET")}
    files["PREDICTION_LAUNCH_KEY"] = folder / "prediction_launch_key.pem"
    files["GATEWAY_CACHE_KEYS"] = folder / "gateway_cache_keys"
    _write_new(files["ADMIN_API_KEY"], f"dev_{secrets.token_hex(24)}")
    _write_new(files["ADMIN_API_KEY_ID"], str(uuid.uuid4()))
    _write_new(files["INGESTION_HMAC_SECRET"], secrets.token_hex(32))
    _write_new(files["GATEWAY_CACHE_KEYS"], base64.b64encode(secrets.token_bytes(32)).decode())
    if not files["PREDICTION_LAUNCH_KEY"].exists():
        from gateway.core.ed25519 import generate_signing_key

        _write_new(files["PREDICTION_LAUNCH_KEY"], generate_signing_key()[1].decode())
    return {
        "TENANT_ID": "dev-tenant",
        "ADMIN_API_KEY_FILE": str(files["ADMIN_API_KEY"]),
        "ADMIN_API_KEY_ID": files["ADMIN_API_KEY_ID"].read_text().strip(),
        "INGESTION_HMAC_SECRET_FILE": str(files["INGESTION_HMAC_SECRET"]),
        "PREDICTION_OPERATOR_CODE": "dev-operator",
        "PREDICTION_OPERATOR_ID": "dev-operator-id",
        "PREDICTION_ENVIRONMENT": "sandbox",
        "PREDICTION_LAUNCH_KEY_FILE": str(files["PREDICTION_LAUNCH_KEY"]),
    }


def _write_new(path: Path, text: str) -> None:
    if path.exists():
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text + "\n")


@contextmanager
def both(folder: Path, listen: str, admin: str) -> Iterator[tuple[dict[str, str], list[Child]]]:
    """Run sandbox and gateway during the `with` block. Yields the sandbox's URLs and both processes.

    `folder`/env then holds what points a command at them: the gateway's settings, its address and the control URL.
    """
    for name in list(os.environ):  # settings of the developer's shell must not change this gateway
        if name.startswith(SETTINGS) or name in ("REDIS_URL", "DATABASE_URL"):
            del os.environ[name]
    logs = folder / "log"
    logs.mkdir(parents=True, exist_ok=True)
    own = make_secrets(folder / "secrets")
    with ExitStack() as stack:
        sandbox, urls = start_sandbox(own, folder / "sandbox.json", logs / "sandbox.log")
        stack.callback(sandbox.stop)
        settings = settings_with(own, urls, listen, admin, folder / "data")
        gateway = start_gateway(settings, logs / "gateway.log", folder)
        stack.callback(gateway.stop)
        (folder / "env").unlink(missing_ok=True)
        pointed = {**settings, "GATEWAY_TARGET": listen, "GATEWAY_TARGET_CONTROL": urls["control"]}
        _write_new(folder / "env", "\n".join(f"{name}={shlex.quote(value)}" for name, value in pointed.items()))
        yield urls, [sandbox, gateway]


def choice_with(control_url: str) -> Choice:
    """Return the settings of the smoke steps for this sandbox."""
    return Choice(
        board=BOARD,
        currency="EUR",
        tenant_id="",
        operator_code="",
        environment="",
        read_within_s=15.0,
        control_url=control_url,
    )


def smoke() -> int:
    """Start both, run the smoke steps and stop. Return 0 if all steps pass."""
    folder = Path(tempfile.mkdtemp(prefix="phoenix-gateway-smoke-"))
    listen = f"127.0.0.1:{free_port()}"
    try:
        with both(folder, listen, f"127.0.0.1:{free_port()}") as (urls, _):
            return run_against(choice_with(urls["control"]), listen, None, None, None, as_json=False)
    except ChildFailed as failed:
        print(f"smoke: FAILED at 'start': {failed}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(folder: Path, *, free_ports: bool) -> int:
    """Start both, run the smoke steps, print example calls and wait for Ctrl-C or SIGTERM. `folder` keeps all files."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    grpc_port = free_port() if free_ports or not is_free(GRPC_PORT) else GRPC_PORT
    admin_port = free_port() if free_ports or not is_free(ADMIN_PORT) else ADMIN_PORT
    listen = f"127.0.0.1:{grpc_port}"
    try:
        with both(folder, listen, f"127.0.0.1:{admin_port}") as (urls, children):
            code = run_against(choice_with(urls["control"]), listen, None, None, None, as_json=False)
            if code != 0:
                return code
            write_webhook(folder / "webhook.json", urls["control"])
            _print_welcome(listen, f"127.0.0.1:{admin_port}", urls, folder)
            while all(child.running for child in children):
                time.sleep(0.2)
            for child in children:
                if not child.running:
                    print(f"The {child.name} ended unexpectedly:\n{child.tail()}", file=sys.stderr)
            return 1
    except ChildFailed as failed:
        print(f"run: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0


def write_webhook(path: Path, control_url: str) -> None:
    """Write a wallet webhook that this sandbox signed, as a request of VerifyWallet."""
    asked = Request(f"{control_url}/wallet/sign", data=b"{}", method="POST")
    with build_opener(ProxyHandler({})).open(asked, timeout=10) as answer:
        signed = json.loads(answer.read())
    request = {
        "method": signed["method"],
        "path": signed["path"],
        "headers": [{"name": name, "value": value} for name, value in signed["headers"]],
        "raw_body": signed["body_base64"],
    }
    path.write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")


def _print_welcome(listen: str, admin: str, urls: dict[str, str], folder: Path) -> None:
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    port = "" if listen.endswith(f":{GRPC_PORT}") else f"  (port {GRPC_PORT} is taken)"
    call = f".venv/bin/phoenix-gateway call --target {listen} --json"
    print(
        f"""
gateway   {listen}{port}
admin     http://{admin}/healthz
sandbox   control {urls["control"]}
secrets   {shown}/secrets    logs {shown}/log    evidence {shown}/data

Try, in this folder:
  {call} EventService/SubmitEvent '{{"event": {{"leaderboard_id": "{BOARD}", "user_id": "ada", "score_delta": 50}}}}'
  {call} LeaderboardService/GetLeaderboard '{{"leaderboard_id": "{BOARD}"}}'
  {call} TokenService/MintLaunchJWT '{{"visitor": {{}}}}'
  {call} WalletService/VerifyWallet @{shown}/webhook.json

{shown}/env points any command at this gateway, such as:
  .venv/bin/phoenix-gateway --env-file {shown}/env top {BOARD}
  .venv/bin/phoenix-gateway --env-file {shown}/env disable SubmitEvent --reason 'a try'
  .venv/bin/phoenix-gateway --env-file {shown}/env enable SubmitEvent
  .venv/bin/phoenix-gateway --env-file {shown}/env doctor

Ctrl-C stops both.""",
        flush=True,
    )


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the command of the first argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["smoke", "run"])
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "var" / "run", help="folder in which `run` keeps secrets and data"
    )
    parser.add_argument("--free-ports", action="store_true", help="`run` takes free ports, not the usual ones")
    given = parser.parse_args()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # SIGINT too, because shells start background jobs with SIGINT ignored
        signal.signal(number, _end)  # the exception stops the child processes
    try:
        return smoke() if given.what == "smoke" else run(given.folder.absolute(), free_ports=given.free_ports)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
