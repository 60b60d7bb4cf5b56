"""The faults of docs/degraded-modes.md: how each is made and ended, around a gateway process of its own."""

from __future__ import annotations

import base64
import os
import resource
import select
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import fake_time
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.method_requests import PATHS_OPEN
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess

BOARD = "policy-board"


@dataclass(kw_only=True)
class Scene:
    """What a fault may need. The servers start when they are asked for."""

    sandbox: SandboxProcess
    folder: Path
    request: pytest.FixtureRequest
    gateway: GatewayProcess = field(init=False)
    reader: PipeReader = field(init=False)
    """Of the audit log."""

    @property
    def redis(self) -> RedisProcess:
        """A Redis."""
        server: RedisProcess = self.request.getfixturevalue("redis_server")
        return server

    @property
    def postgres(self) -> PostgresProcess:
        """A PostgreSQL, of the session."""
        server: PostgresProcess = self.request.getfixturevalue("postgres_server")
        return server

    @property
    def pipe(self) -> Path:
        """A named pipe, for the audit log."""
        return self.folder / "audit.pipe"

    @property
    def time_file(self) -> Path:
        """What libfaketime reads."""
        return self.folder / "faketime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`settings` are the gateway's; inside `lasts` there is the fault."""

    settings: Callable[[Scene], Mapping[str, str]] = lambda scene: {}
    lasts: Callable[[Scene], Any]


def _with_redis(scene: Scene) -> dict[str, str]:
    return {
        **_with_postgres(scene),
        "REDIS_URL": scene.redis.url,
        "GATEWAY_CACHE_KEYS": base64.b64encode(os.urandom(32)).decode(),
    }


def _with_postgres(scene: Scene) -> dict[str, str]:
    return {"DATABASE_URL": scene.request.getfixturevalue("postgres_url")}


@contextmanager
def _no_redis(scene: Scene) -> Iterator[None]:
    scene.redis.kill()
    yield
    scene.redis.restart()


@contextmanager
def _frozen_redis(scene: Scene) -> Iterator[None]:
    scene.redis.pause()
    try:
        yield
    finally:
        scene.redis.resume()


@contextmanager
def _no_database(scene: Scene) -> Iterator[None]:
    scene.postgres.kill()
    try:
        yield
    finally:
        scene.postgres.restart()


@contextmanager
def _frozen_database(scene: Scene) -> Iterator[None]:
    scene.postgres.pause()
    try:
        yield
    finally:
        scene.postgres.resume()


@contextmanager
def _full_disk(scene: Scene) -> Iterator[None]:
    """No file may grow: what a full disk does, without the right to mount one."""
    before = resource.prlimit(scene.gateway.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(scene.gateway.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(scene.gateway.pid, resource.RLIMIT_FSIZE, before)


class PipeReader:
    """Reads a named pipe until it is closed."""

    def __init__(self, pipe: Path) -> None:
        self._pipe = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="audit-reader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave. A writer gets EPIPE."""
        self._is_over.set()
        self._thread.join()
        os.close(self._pipe)

    def _read(self) -> None:
        while not self._is_over.is_set():
            if select.select([self._pipe], [], [], 0.05)[0]:
                with suppress(BlockingIOError):  # a writer has closed and another one opened it meanwhile
                    os.read(self._pipe, 65536)


def _with_pipe(scene: Scene) -> dict[str, str]:
    os.mkfifo(scene.pipe)
    scene.reader = PipeReader(scene.pipe)
    return {"GATEWAY_AUDIT_FILE": str(scene.pipe), "GATEWAY_AUDIT_REQUIRED": "true"}


@contextmanager
def _no_audit(scene: Scene) -> Iterator[None]:
    """A pipe without a reader."""
    scene.reader.close()
    yield
    reader = PipeReader(scene.pipe)
    scene.request.addfinalizer(reader.close)


def _with_fake_time(scene: Scene) -> dict[str, str]:
    if not fake_time.LIBRARY:
        pytest.skip(fake_time.MISSING)
    return fake_time.settings(scene.time_file)


@contextmanager
def _wrong_clock(scene: Scene) -> Iterator[None]:
    """Far beyond what Phoenix tolerates."""
    fake_time.set_clock(scene.time_file, -400)
    scene.gateway.wait_ready(ready=False)
    try:
        yield
    finally:
        fake_time.set_clock(scene.time_file, 0)


def _phoenix(*faults: dict[str, Any]) -> Fault:
    @contextmanager
    def lasts(scene: Scene) -> Iterator[None]:
        for fault in faults:
            scene.sandbox.control("POST", "/faults", fault)
        try:
            yield
        finally:
            scene.sandbox.control("DELETE", "/faults")

    return Fault(lasts=lasts)


def _down(surface: str, **more: Any) -> Fault:
    return _phoenix({"surface": surface, "kind": "status", "status": 503, **more})


def _slow(surface: str, **more: Any) -> Fault:
    return _phoenix({"surface": surface, "kind": "hang", **more})


_KEY = {"path_prefix": "/.well-known"}
FAULTS: Mapping[str, Fault] = {
    "no Redis": Fault(settings=_with_redis, lasts=_no_redis),
    "frozen Redis": Fault(settings=_with_redis, lasts=_frozen_redis),
    "no database": Fault(settings=_with_postgres, lasts=_no_database),
    "frozen database": Fault(settings=_with_postgres, lasts=_frozen_database),
    "full disk": Fault(lasts=_full_disk),
    "audit not writable": Fault(settings=_with_pipe, lasts=_no_audit),
    "clock off": Fault(settings=_with_fake_time, lasts=_wrong_clock),
    "ingestion down": _down("ingestion"),
    "ingestion silent": _slow("ingestion"),
    "query down": _down("query"),
    "query silent": _slow("query"),
    "admin down": _down("admin"),
    "admin silent": _slow("admin"),
    "prediction down": _down("prediction"),
    "prediction silent": _slow("prediction"),
    "key server down": _down("prediction", **_KEY),
}


@contextmanager
def gateway_of(scene: Scene, fault: Fault) -> Iterator[GatewayProcess]:
    """A gateway for this fault, which is ready."""
    paths = {"PHOENIX_PATHS": ",".join(PATHS_OPEN)}
    settings = {**of_sandbox(scene.sandbox.urls, scene.sandbox.environ), **paths, **fault.settings(scene)}
    scene.gateway = GatewayProcess(settings)
    with scene.gateway:
        scene.gateway.wait_serving("phoenix.gateway.v1.WalletService", within_s=30)
        yield scene.gateway
