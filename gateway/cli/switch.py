"""`phoenix-gateway disable` and `enable`: write the decision to Redis, the database or the file that replicas read.

They take the settings of `serve`: whoever can read those settings may switch.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.core.switch_targets import SwitchTargets
    from gateway.core.switches import Switches, Target
    from gateway.resilience.clock import Clock

CONFIG_INVALID = 2
NOT_WRITTEN = 1


def run(config_file: Path | None, text: str, reason: str, *, is_off: bool, as_json: bool) -> int:
    """Switch one thing off, or on again; return the exit code."""
    from gateway.core.switch_targets import TargetUnclear, find_target

    config = _loaded(config_file)
    if config is None:
        return CONFIG_INVALID
    try:
        target, is_known = find_target(text, _known(config))
    except TargetUnclear as unclear:
        print(f"{text!r} {unclear}", file=sys.stderr)
        return CONFIG_INVALID
    if not is_known:
        print(f"warning: no such {target.kind.value} is configured here; check the spelling", file=sys.stderr)
    return asyncio.run(_decide(config, target, reason, is_off=is_off, as_json=as_json))


def show(config_file: Path | None, *, as_json: bool) -> int:
    """Print what is switched off; return the exit code."""
    config = _loaded(config_file)
    if config is None:
        return CONFIG_INVALID
    places = asyncio.run(_read(config))
    if places is None:
        return NOT_WRITTEN
    rows = [
        {"target": str(one.target), "since": _time(one.at_ms), "by": one.by, "reason": one.reason} for one in places.off
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    from gateway.core.plain_text import cell

    table = Table("switched off", "since", "by", "reason")
    for row in rows:
        table.add_row(*(cell(row[name]) for name in ("target", "since", "by", "reason")))
    Console().print(table if rows else "nothing is switched off")
    return 0


def _loaded(config_file: Path | None) -> Config | None:
    import os

    from gateway.config import ConfigInvalid, load

    environ = dict(os.environ)
    if config_file is not None:
        environ["GATEWAY_CONFIG"] = str(config_file)
    try:
        return load(environ)
    except ConfigInvalid as invalid:
        print(invalid, file=sys.stderr)
        return None


async def _decide(config: Config, target: Target, reason: str, *, is_off: bool, as_json: bool) -> int:
    known = await _read(config)
    if known is None:
        return NOT_WRITTEN
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    if not is_off and not any(one.target == target for one in known.off):
        print(f"{target} is not switched off", file=sys.stderr)
    decided = known.decided(target, is_off=is_off, reason=reason, by=by, now_ms=now_ms)
    if await _write(config, decided) is None:
        return NOT_WRITTEN
    if as_json:
        print(json.dumps({"target": str(target), "is_off": is_off, "reach": _reach(config)}))
    else:
        print(f"{target} is switched {'off' if is_off else 'on again'}: {_reach(config)}")
    for one in decided.off:
        if not is_off and one.target.name == target.name.rpartition("/")[0] + "/*":
            print(f"still switched off with its service: {one.target}", file=sys.stderr)
    return 0


async def _read(config: Config) -> Switches | None:
    from gateway.core.switches import Switches

    return await _write(config, Switches())


async def _write(config: Config, switches: Switches) -> Switches | None:
    """Merge a list into every place and return the result; None, with a message, if no place could be written."""
    known, places = switches, 0
    for name, merge in _places(config):
        try:
            known = await merge(known)
            places += 1
        except Exception as error:  # noqa: BLE001 - each place raises its own errors, whose texts may hold secrets
            print(f"{name}: {_why(error)}", file=sys.stderr)
    if not places:
        print("nothing was switched; correct the fault above and run the command again", file=sys.stderr)
        return None
    return known


def _places(config: Config) -> Iterator[tuple[str, Callable[[Switches], Awaitable[Switches]]]]:
    """Yield each place that replicas read, the fastest first."""
    from gateway.resilience.clock import SystemClock

    clock = SystemClock()
    if config.redis is not None:
        yield "REDIS_URL", lambda switches: _in_redis(config, clock, switches)
    if config.database_url is not None:
        yield "DATABASE_URL", lambda switches: _in_database(config, clock, switches)
    if config.redis is None:
        yield "GATEWAY_DATA_DIR", lambda switches: _in_file(config, clock, switches)


async def _in_redis(config: Config, clock: Clock, switches: Switches) -> Switches:
    from gateway.cache.client import RedisCache, RedisCacheSettings
    from gateway.controls.redis_switches import RedisSwitches

    assert config.redis is not None
    patience = RedisCacheSettings(timeout_s=2.0, connect_timeout_s=3.0, server_timeout_s=2.0)
    redis = RedisCache(config.redis.target, clock, patience)
    refused: list[str] = []
    shared = RedisSwitches(cache=redis, seal_keys=config.redis.seal_keys, clock=clock, on_event=refused.append)
    try:
        await redis.start()
        known = await shared.merge(switches)
    finally:
        await redis.close()
    if refused:
        print(
            "warning: the list in Redis failed authentication and is ignored; find out what else writes to this Redis",
            file=sys.stderr,
        )
    return known


async def _in_database(config: Config, clock: Clock, switches: Switches) -> Switches:
    from gateway.server.assembly.stored_switches import build_stored_switches
    from gateway.store.database import DatabaseSettings
    from gateway.store.open_database import open_database

    assert config.database_url is not None
    settings = DatabaseSettings(url=config.database_url.reveal_text(), data_dir=config.data_dir, connections=1)
    database = open_database(settings, clock)
    stored = build_stored_switches(config, database, clock, lambda: None)
    assert stored is not None
    try:
        return await stored.merge(switches)
    finally:
        await database.stop()


async def _in_file(config: Config, clock: Clock, switches: Switches) -> Switches:
    from gateway.controls.switch_file import SwitchFile

    return SwitchFile(config.data_dir, clock).merge(switches)


def _reach(config: Config) -> str:
    if config.redis is not None:
        return "every replica follows within a second (five if Redis is down)"
    if config.database_url is not None:
        return "every replica follows within five seconds"
    return f"gateways that use {config.data_dir} follow within a second"


def _known(config: Config) -> SwitchTargets:
    from gateway.core.switch_targets import SwitchTargets
    from gateway.interceptors.policy import METHODS

    return SwitchTargets(
        methods=METHODS,
        tenants=[one.keys.tenant_id for one in config.tenants],
        operators=[f"{one.keys.operator_code}/{one.keys.environment.value}" for one in config.operators],
        callers=list(config.callers.by_name),
        ids=config.callers.ids,
    )


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def _why(error: Exception) -> str:
    from gateway.cache.client import CacheUnavailable
    from gateway.core.switches import SwitchesUnreadable
    from gateway.errors import GatewayError

    if isinstance(error, CacheUnavailable | SwitchesUnreadable | GatewayError):
        return str(error)
    return error.strerror or "cannot be used" if isinstance(error, OSError) else type(error).__name__
