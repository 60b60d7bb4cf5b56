"""`phoenix-gateway smoke`: runs the steps against a running gateway, or starts one with the same settings."""

from __future__ import annotations

import secrets
import sys
import tempfile
from pathlib import Path

from gateway.cli.children import ChildFailed, free_port, start_gateway
from gateway.cli.connect import open_channel, plaintext_channel
from gateway.cli.options import WrongOptions
from gateway.cli.smoke import Choice, Smoke
from gateway.cli.smoke_report import print_report
from gateway.config.names import TRIAL

__all__ = ["Choice", "run"]
WRONG_OPTIONS = 2


def run(
    choice: Choice,
    target: str | None,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    config: Path | None,
    *,
    as_json: bool,
) -> int:
    """Run the steps, print the results, return the exit code."""
    if choice.environment not in ("", "sandbox", "prod"):
        print("--environment: is unknown; write sandbox or prod", file=sys.stderr)
        return WRONG_OPTIONS
    if choice.control_url is not None and not choice.control_url.startswith(("http://", "https://")):
        print("--control: is not a URL; write http:// or https:// and the address", file=sys.stderr)
        return WRONG_OPTIONS
    if target is not None:
        return run_against(choice, target, ca_file, cert_file, key_file, as_json=as_json)
    with tempfile.TemporaryDirectory(prefix="phoenix-gateway-smoke-") as folder:
        environ = own_gateway(Path(folder))
        if config is not None:
            environ["GATEWAY_CONFIG"] = str(config)
        try:
            gateway = start_gateway(environ, Path(folder) / "gateway.log")
        except ChildFailed as failed:
            print(f"smoke: FAILED at 'start the gateway': {failed}", file=sys.stderr)
            print("To test a gateway that runs, name it by --target.", file=sys.stderr)
            return failed.code if failed.code == WRONG_OPTIONS else 1
        try:
            with plaintext_channel(environ["GATEWAY_LISTEN"], environ["GATEWAY_DEV_TOKEN"]) as channel:
                return print_report(Smoke(channel, choice).run(), as_json=as_json)
        finally:
            gateway.stop()


def own_gateway(folder: Path) -> dict[str, str]:
    """Return the settings that separate this gateway from one in service: its own listeners, store and cache.

    A policy may only name callers with certificates, so the policy is not applied: the token of this run may do all.
    """
    return {
        "GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        "GATEWAY_DRAIN_DELAY": "0",
        "GATEWAY_DATA_DIR": str(folder),
        "GATEWAY_DEV_TOKEN": secrets.token_urlsafe(32),
        TRIAL: "1",
    }


def run_against(
    choice: Choice, target: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None, *, as_json: bool
) -> int:
    """Run the steps against a running gateway, print the results, return the exit code."""
    try:
        channel = open_channel(target, ca_file, cert_file, key_file)
    except WrongOptions as error:
        print(error, file=sys.stderr)
        return WRONG_OPTIONS
    with channel:
        results = Smoke(channel, choice).run()
    return print_report(results, as_json=as_json)
