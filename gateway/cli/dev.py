"""`phoenix-gateway dev`: a sandbox and a gateway in one process, for tests and for trying things out.

It keeps nothing: secrets are made in memory, data is in a temporary folder. Settings of the environment are not read,
so that it can never be a gateway before the real Phoenix.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from gateway.cli.children import free_port
from gateway.store.upgrade import FILE_NAME, Upgrade

TENANT, OPERATOR = "dev-tenant", "dev-operator"
WRONG_OPTIONS = 2
_QUICK_AND_QUIET = {"GATEWAY_DRAIN_TIMEOUT": "2", "GATEWAY_LOG_LEVEL": "error"}


class FaultInvalid(ValueError):
    """A --fault cannot be read. The text says why."""


def run(*, port: int, faults: list[str], with_parent: bool, as_json: bool) -> int:
    """Serve until Ctrl-C or SIGTERM; return the exit code. `with_parent`: also until standard input is closed."""
    try:
        wanted = [read_fault(text) for text in faults]
    except FaultInvalid as invalid:
        print(f"--fault: {invalid}", file=sys.stderr)
        return WRONG_OPTIONS
    with tempfile.TemporaryDirectory(prefix="phoenix-gateway-dev-") as name:
        folder = Path(name)
        with Upgrade(folder / FILE_NAME) as upgrade:
            return _serve(folder, port, wanted, upgrade, with_parent=with_parent, as_json=as_json)


def read_fault(text: str) -> dict[str, Any]:
    """Return a fault as the control route takes it, from `surface=ingestion,kind=status,status=503,times=1`.

    Raises: FaultInvalid.
    """
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            raise FaultInvalid("is not JSON; write surface=...,kind=... or an object") from None
        return dict(found)
    members: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise FaultInvalid(f"{part!r} has no value; write surface=ingestion,kind=status,status=503")
        try:
            members[name.strip()] = json.loads(value)
        except ValueError:
            members[name.strip()] = value
    return members


def _serve(
    folder: Path,
    port: int,
    faults: list[dict[str, Any]],
    upgrade: Upgrade,
    *,
    with_parent: bool,
    as_json: bool,
) -> int:
    from gateway.config import ConfigInvalid, load
    from gateway.resilience.clock import SystemClock
    from gateway.sandbox.control_input import InvalidControlRequest
    from gateway.sandbox.main import serving
    from gateway.sandbox.options import read_options
    from gateway.server.listener.listen import ListenFailed
    from gateway.server.run import serve
    from gateway.telemetry import logs

    own = _identities()
    listen, admin = f"127.0.0.1:{port or free_port()}", f"127.0.0.1:{free_port()}"

    async def main() -> int:
        async with AsyncExitStack() as stack:
            urls = await stack.enter_async_context(serving(read_options(own), faults))
            settings = {**settings_with(own, urls, listen, admin, folder), **_QUICK_AND_QUIET}
            config = load(settings, env_file=folder / "no.env")
            logs.configure(config.log_level.value, config.log_format_name)
            if with_parent:
                _end_with_parent()
            async with asyncio.TaskGroup() as group:

                def report() -> None:
                    reports.append(group.create_task(_report_when_ready(listen, admin, urls, as_json=as_json)))

                reports: list[asyncio.Task[None]] = []
                try:
                    code = await serve(config, SystemClock(), upgrade=upgrade, on_serving=report)
                except (ListenFailed, OSError) as failed:  # here, because the group would wrap it
                    print(f"dev: {failed} --port 0 takes a free one.", file=sys.stderr)
                    code = 1
                for task in reports:
                    task.cancel()
            return code

    try:
        return asyncio.run(main())
    except InvalidControlRequest as invalid:
        print(f"--fault: {invalid}; docs/sandbox.md lists all", file=sys.stderr)
        return WRONG_OPTIONS
    except (ListenFailed, ConfigInvalid, OSError) as failed:
        print(f"dev: {failed}", file=sys.stderr)
        return 1


def _identities() -> dict[str, str]:
    from gateway.core.ed25519 import generate_signing_key

    return {
        "TENANT_ID": TENANT,
        "ADMIN_API_KEY": f"dev_{secrets.token_hex(24)}",
        "ADMIN_API_KEY_ID": str(uuid.uuid4()),
        "INGESTION_HMAC_SECRET": secrets.token_hex(32),
        "PREDICTION_OPERATOR_CODE": OPERATOR,
        "PREDICTION_OPERATOR_ID": f"{OPERATOR}-id",
        "PREDICTION_ENVIRONMENT": "sandbox",
        "PREDICTION_LAUNCH_KEY": generate_signing_key()[1].decode(),
    }


def settings_with(own: dict[str, str], urls: Mapping[str, str], listen: str, admin: str, data: Path) -> dict[str, str]:
    """Return the settings of a gateway that calls a sandbox with these URLs. Args: `own`: identities and secrets."""
    return {
        **own,
        "INGESTION_BASE_URL": urls["ingestion"],
        "ADMIN_BASE_URL": urls["admin"],
        "QUERY_BASE_URL": urls["query"],
        "WEBSOCKET_URL": urls["websocket"],
        "PREDICTION_BASE_URL": urls["prediction"],
        "PREDICTION_EMBED_URL": urls["embed"],
        "PHOENIX_DEDUPLICATES_EVENTS": "true",
        "PHOENIX_BULK_EVENTS": "events",
        "GATEWAY_LISTEN": listen,
        "GATEWAY_ADMIN_LISTEN": admin,
        "GATEWAY_DRAIN_DELAY": "0",
        "GATEWAY_DATA_DIR": str(data),
    }


def _end_with_parent() -> None:
    """Stop when standard input is closed: its other end belongs to the parent, which may die without a word."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(descriptor, readable)


async def _report_when_ready(listen: str, admin: str, urls: dict[str, Any], *, as_json: bool) -> None:
    """Print the addresses once gRPC health says SERVING: clients with the service config wait for nothing else."""
    while not await asyncio.to_thread(_is_ready, f"http://{admin}/readyz"):  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.05)
    _report(listen, admin, urls, as_json=as_json)


def _is_ready(url: str) -> bool:
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:  # HTTPError is one
        return False


def _report(listen: str, admin: str, urls: dict[str, Any], *, as_json: bool) -> None:
    found = {
        "gateway": listen,
        "admin": f"http://{admin}",
        "control": urls["control"],
        "tenant_id": TENANT,
        "operator_code": OPERATOR,
        "environment": "sandbox",
        "sandbox": {name: urls[name] for name in ("ingestion", "admin", "query", "websocket", "prediction", "embed")},
        "pid": os.getpid(),
    }
    if as_json:
        print(json.dumps(found), flush=True)
        return
    print(
        f"""gateway   {listen}
admin     {found["admin"]}/healthz
control   {urls["control"]}   (docs/sandbox.md)

Nothing is kept. Try:
  phoenix-gateway smoke --target {listen} --control {urls["control"]}

Ctrl-C stops both.""",
        flush=True,
    )
