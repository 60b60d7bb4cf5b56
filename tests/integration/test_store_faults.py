"""Stores of secrets that fail while calls run, or at the start: no call fails, it is said since when, nothing leaks.

Each store is killed, sealed, made slow, and made to answer garbage that contains a secret. `make test` has the short
form, `make test-faults` every fault of every store.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess
from tests.integration.test_store_rotations import (
    Rotation,
    Store,
    aws_store,
    command_store,
    doctor_of,
    gcp_store,
    listed,
    load,
    metrics_of,
    vault_store,
)
from tests.keys.stores.gcp_emulator import GcpEmulator
from tests.moto_process import MotoProcess
from tests.openbao_process import SERVERS
from tests.sandbox_process import SandboxProcess
from tests.secret_scanner import forms
from tests.store_proxy import DOWN, DRIPPING, SILENT, StoreProxy
from tests.vault_process import BUILD_WITHIN_S
from tools.go_tools import NotBuilt

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 900)
PLANTED = "planted4in8an5answer3of6a2store"
NOTICED_WITHIN_S = 60.0
HELD_S = 1.5
"""How long calls run after a fault was noticed: several looks at the store."""
_SHAPES = (
    f'{{"data": {{"data": {{"value": ["{PLANTED}"]}}, "metadata": {{"version": 1, "created_time": "{PLANTED}"}}}},'
    f' "payload": {{"data": "{PLANTED}!"}}, "SecretString": ["{PLANTED}"], "SecretBinary": "{PLANTED}"}}'
)
_ERRORS = f'{{"errors": ["{PLANTED}"], "error": {{"message": "{PLANTED}"}}, "__type": "{PLANTED}"}}'


def _answer(body: str, status: str = "200 OK", header: str = "Content-Type: application/json") -> bytes:
    return f"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


GARBAGE = {
    "no JSON": _answer(f'{{"data": "{PLANTED}'),
    "other shapes": _answer(_SHAPES),
    "no HTTP": f"{PLANTED}\r\n\r\n".encode(),
    "a status that is none": _answer("{}", status=PLANTED),
    "a header that is none": _answer("{}", header=PLANTED),
    "an error of its own": _answer(_ERRORS, status=f"500 {PLANTED}"),
    "a refusal": _answer(_ERRORS, status="403 Forbidden"),
    "nothing there": _answer(_ERRORS, status="404 Not Found"),
    "a redirect": _answer(_ERRORS, status="302 Found", header=f"Location: http://127.0.0.1:1/{PLANTED}"),
    "too much": _answer(f'{{"data": {{"data": {{"value": "{PLANTED}{" " * 10 * 1024 * 1024}"}}}}}}'),
    "no gzip": _answer(PLANTED, header="Content-Encoding: gzip"),
}
Fault = tuple[Callable[[], object], Callable[[], object]]
"""Begins it, and ends it."""


@dataclass
class Broken:
    """A store behind something that can break it."""

    store: Store
    faults: dict[str, Fault]
    scheme: str


def _through(store: Store, url: str, port: int, stack: ExitStack) -> tuple[Store, dict[str, Fault]]:
    """Put a proxy before the store at this URL."""
    proxy = stack.enter_context(StoreProxy(port))

    def fault(kind: str | bytes) -> Fault:
        return lambda: proxy.break_as(kind), lambda: proxy.break_as("")

    kinds: dict[str, str | bytes] = {one: one for one in (DOWN, SILENT, DRIPPING)}
    settings = {name: text.replace(url, proxy.url) for name, text in store.settings.items()}
    return replace(store, settings=settings), {name: fault(kind) for name, kind in (kinds | GARBAGE).items()}


def _vault(kind: str, folder: Path, stack: ExitStack) -> Broken:
    server = SERVERS[kind](folder)
    server.start()
    stack.callback(server.close)
    store, faults = _through(vault_store(server), server.address, server.port, stack)
    own: dict[str, Fault] = {"sealed": (server.seal, server.unseal), "killed": (server.kill, server.start)}
    return Broken(store, own | faults, "vault")


def _aws(folder: Path, stack: ExitStack) -> Broken:
    server = MotoProcess()
    server.start()
    stack.callback(server.stop)
    return Broken(*_through(aws_store(server), server.url, server.port, stack), "aws-sm")


def _gcp(folder: Path, stack: ExitStack) -> Broken:
    emulator = GcpEmulator()
    stack.callback(emulator.close)
    store, faults = _through(gcp_store(emulator, folder), emulator.url, int(emulator.url.rpartition(":")[2]), stack)
    return Broken(store, faults, "gcp-sm")


def _command(folder: Path, stack: ExitStack) -> Broken:
    store = command_store(folder)
    program = folder / "print-secret"
    healthy = program.read_text()

    def fault(text: str) -> Fault:
        return lambda: program.write_text(f"#!/bin/sh\n{text}\n"), lambda: program.write_text(healthy)

    faults = {
        "killed": (lambda: program.chmod(0o600), lambda: program.chmod(0o700)),
        "slow": fault("exec sleep 60"),
        "fails": fault(f"echo {PLANTED}; echo {PLANTED} >&2; exit 3"),
        "nothing": fault(f"echo {PLANTED} >&2"),
        "too much": fault(f"yes {PLANTED} | head -c 100000"),
        "binary": fault(f"printf '{PLANTED}\\000'"),
    }
    return Broken(store, faults, "exec")


KINDS: dict[str, Callable[[Path, ExitStack], Broken]] = {
    "vault": lambda folder, stack: _vault("vault", folder, stack),
    "openbao": lambda folder, stack: _vault("openbao", folder, stack),
    "aws": _aws,
    "gcp": _gcp,
    "command": _command,
}


@pytest.fixture
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broken]:
    """The store of the parameter."""
    with ExitStack() as stack:
        try:
            made = KINDS[request.param](tmp_path, stack)
        except NotBuilt as reason:
            pytest.skip(str(reason))
        yield made


def failing_s(gateway: GatewayProcess, scheme: str) -> float:
    name = f'phoenix_gateway_secret_store_failing_seconds{{store="{scheme}"}}'
    return next(float(line.split()[-1]) for line in metrics_of(gateway).splitlines() if line.startswith(name))


def degraded(gateway: GatewayProcess) -> Mapping[str, str]:
    found: Mapping[str, str] = gateway.readiness().get("degraded", {})
    return found


async def until(gateway: GatewayProcess, is_met: Callable[[], bool]) -> None:
    end = time.monotonic() + NOTICED_WITHIN_S
    while not await asyncio.to_thread(is_met):
        assert time.monotonic() < end, gateway.log_text[-3000:]
        await asyncio.sleep(0.05)


def leaks(values: list[str], *shown: str) -> list[str]:
    """Return the beginnings of the secrets that are in one of the texts, in any encoding."""
    texts = [one.encode() for one in shown]
    return [value[:6] for value in values if any(form in text for form in forms(value.encode()) for text in texts)]


async def survive(broken: Broken, sandbox: SandboxProcess, names: list[str]) -> None:
    """Have each fault while calls run; then rotate."""
    rotation = Rotation(broken.store, sandbox, poll_s="0.3")
    references = set(broken.store.references.values())
    failed: list[str] = []
    done = [0]
    shown: list[str] = []
    with GatewayProcess(rotation.settings) as gateway:
        callers = [asyncio.create_task(load(gateway, failed, done)) for _ in range(2)]
        try:
            for name in names:
                begin, end = broken.faults[name]
                begun_at, before = time.time(), done[0]
                await asyncio.to_thread(begin)
                await until(gateway, lambda: failing_s(gateway, broken.scheme) > 0)
                await asyncio.sleep(HELD_S)
                await until(gateway, lambda: references <= degraded(gateway).keys())
                for text in degraded(gateway).values():
                    _check_time(text, begun_at)
                assert gateway.readiness()["ready"]
                notes = [one.note for one in await asyncio.to_thread(listed, gateway) if one.source in references]
                assert len(notes) >= 2, name
                report = await asyncio.to_thread(doctor_of, gateway)
                assert _since(report), (name, report)
                shown += [report, str(notes), metrics_of(gateway), json.dumps(gateway.readiness())]
                assert [] == failed, name
                assert done[0] > before, name
                await asyncio.to_thread(end)
                await until(gateway, lambda: failing_s(gateway, broken.scheme) == 0 and not degraded(gateway))
            await rotation.rotate(gateway)
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        assert [] == failed
        assert gateway.log_text.count("a store of secrets answers again") >= 2 * len(names)
        shown += [gateway.log_text, metrics_of(gateway), str(listed(gateway))]
    assert [] == leaks([*rotation.values, PLANTED], *shown)


def _since(text: str) -> list[str]:
    return re.findall(r"not readable since (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)", text)


def _check_time(text: str, begun_at: float) -> None:
    """The time that is said is when the fault was noticed."""
    (said,) = _since(text)
    at = time.mktime(time.strptime(said, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert begun_at - 2 <= at <= time.time() + 1, text


@pytest.mark.parametrize("broken", ["gcp"], indirect=True)
async def test_a_store_that_fails_costs_no_call(broken: Broken, sandbox: SandboxProcess) -> None:
    """The known secrets stay in use, and metric, /readyz, key list and doctor say since when."""
    await survive(broken, sandbox, ["an error of its own"])


@pytest.mark.faults
@pytest.mark.parametrize("broken", KINDS, indirect=True)
async def test_every_fault_of_a_store_costs_no_call(broken: Broken, sandbox: SandboxProcess) -> None:
    """One after the other in one process, which recovers by itself from each."""
    await survive(broken, sandbox, list(broken.faults))


def refuse_start(broken: Broken, sandbox: SandboxProcess, names: list[str]) -> None:
    """Start during each fault: the gateway ends, and names setting, reference and cause."""
    rotation = Rotation(broken.store, sandbox)
    for name in names:
        begin, end = broken.faults[name]
        begin()
        gateway = GatewayProcess(rotation.settings)
        process = gateway.spawn()
        assert process.wait(90) == 2, (name, gateway.log_text)
        report = doctor_of(gateway)
        for shown in (gateway.log_text, report):
            assert "ADMIN_API_KEY_REF" in shown or "INGESTION_HMAC_SECRET_REF" in shown, name
            assert any(reference in shown for reference in broken.store.references.values()), name
        assert "Traceback" not in gateway.log_text + report, name
        assert [] == leaks([*rotation.values, PLANTED], gateway.log_text, report), name
        gateway.stop()
        end()


@pytest.mark.parametrize("broken", ["gcp"], indirect=True)
def test_a_start_without_its_store_says_why(broken: Broken, sandbox: SandboxProcess) -> None:
    """Whatever the store answers."""
    refuse_start(broken, sandbox, ["other shapes"])


@pytest.mark.faults
@pytest.mark.parametrize("broken", KINDS, indirect=True)
def test_no_start_shows_what_a_store_answers(broken: Broken, sandbox: SandboxProcess) -> None:
    """Every fault of every store."""
    refuse_start(broken, sandbox, list(broken.faults))
