"""Secrets in each store rotate while a gateway is under load, and no call fails. Nothing of a secret is anywhere else.

Three rotations of each store in `make test`, twenty in `make test-faults`. Phoenix accepts the old secrets until the
gateway uses the new ones, as in an operator's rotation.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from botocore.session import Session

from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
)
from tests.gateway_process import ROOT, GatewayProcess, of_sandbox, reason_of
from tests.keys.stores.gcp_emulator import GcpEmulator
from tests.moto_process import MotoProcess
from tests.openbao_process import SERVER_PARAMS, SERVERS
from tests.sandbox_process import SandboxProcess
from tests.vault_process import BUILD_WITHIN_S, VaultProcess
from tools.go_tools import NotBuilt

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 600)
BOARD = "stores"
TAKEN_OVER_WITHIN_S = 60.0


@dataclass
class Store:
    """A store as an administrator sees it. `write` takes name and value; `references` are of the two secrets.

    `names`: what the list of keys calls their sources; `is_checked`: whether the doctor asks about further rights.
    """

    settings: dict[str, str]
    references: dict[str, str]
    write: Callable[[str, str], None]
    planted: list[str]
    names: tuple[str, ...] = ()
    is_checked: bool = True

    def __post_init__(self) -> None:
        self.names = self.names or tuple(self.references.values())


def first_vault_store(server: VaultProcess) -> Store:
    """KV version 1, which keeps no versions."""
    server.mount("old", "kv", version="1")
    server.policy("gateway", {"old/phoenix/*": ["read"]})
    token = server.token("gateway", ttl="1h")
    return Store(
        settings={"VAULT_ADDR": server.address, "VAULT_TOKEN": token},
        references={name: f"vault:old/phoenix/{name}#value" for name in ("hmac", "api")},
        write=lambda name, value: void(server("POST", f"old/phoenix/{name}", {"value": value, "other": "field"})),
        planted=[token],
    )


def vault_store(server: VaultProcess) -> Store:
    server.mount("secret", "kv", version="2")
    server.policy("gateway", {"secret/data/phoenix/*": ["read"]})
    token = server.token("gateway", ttl="1h")
    return Store(
        settings={"VAULT_ADDR": server.address, "VAULT_TOKEN": token},
        references={name: f"vault:secret/phoenix/{name}#value" for name in ("hmac", "api")},
        write=lambda name, value: void(server("POST", f"secret/data/phoenix/{name}", {"data": {"value": value}})),
        planted=[token],
    )


def void(_: Any) -> None:
    """Drop an answer."""


def aws_store(server: MotoProcess) -> Store:
    session = Session()
    environ = server.environ
    session.set_credentials(environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"])
    client = session.create_client("secretsmanager", region_name="eu-west-1", endpoint_url=server.url)
    known: set[str] = set()

    def write(name: str, value: str) -> None:
        text = json.dumps({"value": value})
        if name in known:
            client.put_secret_value(SecretId=f"phoenix/{name}", SecretString=text)
        else:
            client.create_secret(Name=f"phoenix/{name}", SecretString=text)
        known.add(name)

    return Store(
        settings=environ,
        references={name: f"aws-sm:phoenix/{name}#value" for name in ("hmac", "api")},
        write=write,
        planted=[environ["AWS_SECRET_ACCESS_KEY"]],
    )


def gcp_store(emulator: GcpEmulator, folder: Path) -> Store:
    return Store(
        settings={
            "GCP_SECRET_MANAGER_URL": emulator.url,
            "GOOGLE_APPLICATION_CREDENTIALS": str(emulator.credentials(folder)),
        },
        references={name: f"gcp-sm:projects/x/secrets/{name}" for name in ("hmac", "api")},
        write=lambda name, value: emulator.add(f"projects/x/secrets/{name}", value.encode()),
        planted=["ya29.emulated"],
    )


def command_store(folder: Path) -> Store:
    program = folder / "print-secret"
    program.write_text(f'#!/bin/sh\ncat "{folder}/$1"\n')
    program.chmod(0o700)
    return Store(
        settings={"GATEWAY_ALLOW_EXEC": "true"},
        references={name: f"exec:{program} {name}" for name in ("hmac", "api")},
        write=lambda name, value: replace_file(folder / name, value),
        planted=[],
    )


def file_store(folder: Path) -> Store:
    return Store(
        settings={},
        references={name: f"file:{folder / name}" for name in ("hmac", "api")},
        write=lambda name, value: replace_file(folder / name, value),
        planted=[],
        names=("INGESTION_HMAC_SECRET_REF", "ADMIN_API_KEY_REF"),
        is_checked=False,
    )


def replace_file(path: Path, content: str) -> None:
    """Write a file that only we can read, beside the one in use, and put it in its place."""
    new = path.with_name(f".{path.name}")
    new.touch(mode=0o600)
    new.write_text(content)
    new.rename(path)


FIRST = {f"{name} version 1": kind for name, kind in SERVERS.items()}
KINDS = [*SERVER_PARAMS, "aws", pytest.param("gcp", marks=pytest.mark.faults), "command"]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each store in turn."""
    try:
        if request.param in (*SERVERS, *FIRST):
            server = (SERVERS | FIRST)[request.param](tmp_path)
            server.start()
            yield vault_store(server) if request.param in SERVERS else first_vault_store(server)
            server.close()
        elif request.param == "aws":
            moto = MotoProcess()
            moto.start()
            yield aws_store(moto)
            moto.stop()
        elif request.param == "gcp":
            emulator = GcpEmulator()
            yield gcp_store(emulator, tmp_path)
            emulator.close()
        elif request.param == "file":
            yield file_store(tmp_path)
        else:
            yield command_store(tmp_path)
    except NotBuilt as reason:
        pytest.skip(str(reason))


class Rotation:
    """A gateway whose HMAC secret and API key are in a store."""

    def __init__(self, store: Store, sandbox: SandboxProcess, poll_s: str = "0.5") -> None:
        self._store, self._sandbox = store, sandbox
        environ = dict(sandbox.environ)
        self._tenant_id = environ["TENANT_ID"]
        self._known = {"hmac_secret": environ.pop("INGESTION_HMAC_SECRET"), "api_key": environ.pop("ADMIN_API_KEY")}
        self.values = [*self._known.values(), *store.planted]
        self._write(self._known)
        self.settings = {
            **of_sandbox(sandbox.urls, environ),
            **store.settings,
            "INGESTION_HMAC_SECRET_REF": store.references["hmac"],
            "ADMIN_API_KEY_REF": store.references["api"],
            "GATEWAY_SECRET_POLL": poll_s,
        }
        sandbox.control("POST", f"/boards/{self._tenant_id}/{BOARD}", {})

    async def rotate(self, gateway: GatewayProcess) -> None:
        """Write both secrets to the store, wait until the gateway uses them, and have Phoenix drop the old ones."""
        before = await asyncio.to_thread(in_use, gateway)
        old, new = self._known, await self.write_new()
        until = time.monotonic() + TAKEN_OVER_WITHIN_S
        while not before.isdisjoint(await asyncio.to_thread(in_use, gateway)):
            assert time.monotonic() < until, gateway.log_text[-3000:]
            await asyncio.sleep(0.05)
        await self.drop(old)
        self._known = new

    async def write_new(self) -> dict[str, str]:
        """Have Phoenix accept new secrets too, and write them to the store."""
        new = {"hmac_secret": secrets.token_hex(32), "api_key": f"pk_{secrets.token_hex(16)}"}
        self.values += new.values()
        await self._sandbox.control_async("POST", "/credentials/add", {"tenant_id": self._tenant_id, **new})
        await asyncio.to_thread(self._write, new)
        return new

    async def drop(self, values: dict[str, str] | None = None) -> None:
        """Have Phoenix refuse secrets: the ones from the start if no others are named."""
        body = {"tenant_id": self._tenant_id, **(values or self._known)}
        await self._sandbox.control_async("POST", "/credentials/remove", body)

    def _write(self, values: dict[str, str]) -> None:
        self._store.write("hmac", values["hmac_secret"])
        self._store.write("api", values["api_key"])


def listed(gateway: GatewayProcess) -> list[keys_pb2.KeyDescription]:
    with grpc.insecure_channel(gateway.address) as channel:
        return list(keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=20).keys)


def in_use(gateway: GatewayProcess) -> set[tuple[str, str, float]]:
    """The active versions of secrets that are in a store."""
    return {
        (one.source, one.version, one.activate_time.ToNanoseconds())
        for one in listed(gateway)
        if one.state == keys_pb2.KEY_STATE_ACTIVE and (":" in one.source or one.source.endswith("_REF"))
    }


async def load(gateway: GatewayProcess, failed: list[str], done: list[int]) -> None:
    """Call with both secrets until cancelled; keep what fails."""
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        events = events_pb2_grpc.EventServiceStub(channel)
        admin = leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel)
        event = events_pb2.Event(leaderboard_id=BOARD, user_id="u", score_delta=1)
        while True:
            try:
                await events.SubmitEvent(events_pb2.SubmitEventRequest(event=event), timeout=30)
                await admin.CheckAdminHealth(leaderboard_admin_pb2.CheckAdminHealthRequest(), timeout=30)
                done[0] += 1
            except grpc.aio.AioRpcError as error:
                failed.append(f"{error.code().name} {reason_of(error)} {error.details()}")
            await asyncio.sleep(0.02)


def metrics_of(gateway: GatewayProcess) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{gateway.admin_address}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def doctor_of(gateway: GatewayProcess) -> str:
    """What `doctor` prints with this gateway's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "doctor", "--json"],
        env={**kept, "PYTHONPATH": str(ROOT), **gateway.environ}, cwd=gateway.data_dir.parent,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


async def rotate_under_load(store: Store, sandbox: SandboxProcess, times: int) -> None:
    rotation = Rotation(store, sandbox)
    failed: list[str] = []
    done = [0]
    with GatewayProcess(rotation.settings) as gateway:
        callers = [asyncio.create_task(load(gateway, failed, done)) for _ in range(3)]
        try:
            for _ in range(times):
                await rotation.rotate(gateway)
                assert [] == failed[:5], gateway.log_text[-6000:]
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        report = doctor_of(gateway)
        assert (2 if store.is_checked else 0) == report.count('"secret-store"')
        shown = "\n".join([gateway.log_text, metrics_of(gateway), str(listed(gateway)), report])
        assert [] == [value[:4] for value in rotation.values if value in shown]
        assert all(name in shown for name in store.names)
    print(f"{times} rotations, {done[0]} rounds of calls, none failed")
    assert done[0] > 0


async def test_three_rotations_fail_no_call(store: Store, sandbox: SandboxProcess) -> None:
    """And leave nothing of a secret in the log, the metrics, the list of keys or the doctor's report."""
    await rotate_under_load(store, sandbox, 3)


@pytest.mark.faults
@pytest.mark.parametrize("store", [*KINDS, *FIRST, "file"], indirect=True)
async def test_twenty_rotations_fail_no_call(store: Store, sandbox: SandboxProcess) -> None:
    """The same, in full."""
    await rotate_under_load(store, sandbox, 20)


@pytest.mark.parametrize("store", ["gcp", "command"], indirect=True)
async def test_a_rejected_call_finds_the_new_secret_at_once(store: Store, sandbox: SandboxProcess) -> None:
    """Phoenix switches without an overlap, and the next poll is an hour away: the calls that it rejects find it."""
    rotation = Rotation(store, sandbox, poll_s="3600")
    with GatewayProcess(rotation.settings) as gateway:
        before = in_use(gateway)
        await rotation.write_new()
        await rotation.drop()
        failed: list[str] = []
        caller = asyncio.create_task(load(gateway, failed, [0]))
        until = time.monotonic() + TAKEN_OVER_WITHIN_S
        while not before.isdisjoint(await asyncio.to_thread(in_use, gateway)):
            assert time.monotonic() < until, f"{failed[:3]} {gateway.log_text[-3000:]}"
            await asyncio.sleep(0.05)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
