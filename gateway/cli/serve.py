"""`phoenix-gateway serve`: read the configuration, then serve; faults go to standard error, one a line."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.store.upgrade import Upgrade

CONFIG_INVALID = 2
NOT_STARTED = 1


def run(config_file: Path | None) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code.

    Args: `config_file` comes from the command line. This process then executes itself again with the file in the
    environment, where workers see it too, and without the command line's parser in memory.
    """
    if config_file is not None:
        again = [sys.executable, "-m", "gateway", "serve"]
        os.execve(sys.executable, again, {**os.environ, "GATEWAY_CONFIG": str(config_file)})  # noqa: S606
    from gateway.config import ConfigInvalid, load
    from gateway.keys.own.process_memory import allow_debuggers, protect

    protect()  # before the first secret is read
    try:
        config = load()
    except ConfigInvalid as invalid:
        print(invalid, file=sys.stderr)
        return CONFIG_INVALID
    if config.dumpable:
        allow_debuggers()
    with _begin_upgrade(config) as upgrade:
        return _serve(config, upgrade)


def _begin_upgrade(config: Config) -> AbstractContextManager[Upgrade | None]:
    """Begin to upgrade a SQLite file, if this process is to use one. The rest of the gateway is loaded meanwhile."""
    from gateway.store.upgrade import FILE_NAME, Upgrade

    if config.database_url is not None or config.workers > 1:
        return nullcontext()
    return Upgrade(config.data_dir / FILE_NAME)


def _serve(config: Config, upgrade: Upgrade | None) -> int:
    from gateway.config import ConfigInvalid, FrontKind
    from gateway.server.process.threads import prefer_one_poller, silence_grpc

    silence_grpc()  # before grpc is imported, which both fronts do
    config = _with_usable_front(config)
    if config.front is FrontKind.GRPC:
        prefer_one_poller()  # before grpc is imported
    from gateway.core.secret import SecretRefused
    from gateway.errors import GatewayError
    from gateway.front.admin import AdminAddressRefused
    from gateway.keys.own.keyring import KeyringRefused
    from gateway.server.listener.listen import ListenFailed
    from gateway.server.run import run as serve
    from gateway.store.failures import DatabaseUnusable
    from gateway.telemetry.logs import where_raised

    gc.enable()
    try:
        return serve(config, upgrade)
    except (
        ListenFailed,
        AdminAddressRefused,
        KeyringRefused,
        SecretRefused,
        GatewayError,
        DatabaseUnusable,
        ConfigInvalid,
    ) as error:
        # Their texts are written for people and hold no secret.
        trouble = str(error)
    except OSError as error:  # such as an address in use or a folder that cannot be written
        trouble = error.strerror or type(error).__name__
    except Exception as error:  # noqa: BLE001 - outermost; another error's text may hold a URL with a password
        place = where_raised(error)
        trouble = f"{place['error_type']} at {place['error_at']}"
    print(f"The gateway stopped or did not start: {trouble}", file=sys.stderr)
    return NOT_STARTED


def _with_usable_front(config: Config) -> Config:
    """Return the configuration with a warning where the HTTP/2 front lacks its engine; with grpc where it has none."""
    from gateway.config import FrontKind
    from gateway.config.faults import Fault
    from gateway.front.http2.engines import find_engine

    if config.front is not FrontKind.HTTP2:
        return config
    engine, trouble = find_engine()
    if not trouble:
        return config
    return replace(
        config,
        front=FrontKind.GRPC if engine is None else FrontKind.HTTP2,
        warnings=(*config.warnings, Fault(setting="GATEWAY_FRONT", problem=trouble, remedy="install ngh2")),
    )
