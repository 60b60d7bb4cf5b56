"""States of a Redis server in which it does not serve, how each begins and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.redis_process import RedisProcess


def demoted(server: RedisProcess) -> None:
    server.command("REPLICAOF", "127.0.0.1", "1")


def promoted(server: RedisProcess) -> None:
    server.command("REPLICAOF", "NO", "ONE")


def without_master(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    demoted(server)


def full(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "maxmemory", "1")


def emptier(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "maxmemory", "0")


def not_saving(server: RedisProcess) -> None:
    """Its last snapshot could not be written: a folder is in the way, as a full disk would be."""
    (server.socket_path.parent / "dump.rdb").mkdir(exist_ok=True)
    server.command("CONFIG", "SET", "save", "3600 1000000")
    server.command("BGSAVE")
    until = time.monotonic() + 5
    while b"rdb_last_bgsave_status:err" not in server.command("INFO", "persistence"):
        assert time.monotonic() < until
        time.sleep(0.01)


def saving(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "save", "")


def without_replicas(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "min-replicas-to-write", "1")


def with_enough_replicas(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "min-replicas-to-write", "0")


def locked(server: RedisProcess) -> None:
    """Give it a password and close the connections, as a restart after a rotation does."""
    server.command("CONFIG", "SET", "requirepass", "rotated")
    server.command("CLIENT", "KILL", "TYPE", "normal", password="rotated")


def unlocked(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "requirepass", "", password="rotated")


def forbidding(server: RedisProcess) -> None:
    server.command("ACL", "SETUSER", "default", "-eval")
    server.command("ACL", "SETUSER", "default", "-set")


def allowing(server: RedisProcess) -> None:
    server.command("ACL", "SETUSER", "default", "+@all")


CAUSES: dict[str, tuple[Callable[[RedisProcess], None], Callable[[RedisProcess], None], str]] = {
    "demoted": (demoted, promoted, "read_only"),
    "without a master": (without_master, promoted, "no_master"),
    "full": (full, emptier, "full"),
    "not saving": (not_saving, saving, "not_saving"),
    "without replicas": (without_replicas, with_enough_replicas, "no_master"),
    "other password": (locked, unlocked, "login"),
    "forbidden": (forbidding, allowing, "forbidden"),
    "frozen": (RedisProcess.pause, RedisProcess.resume, "timeout"),
    "gone": (RedisProcess.kill, RedisProcess.start, "unreachable"),
}
