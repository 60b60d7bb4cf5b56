"""The data directory and the addresses, each with one fault planted."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.config import Listen, TlsFiles
from gateway.doctor.machine_checks import audit_file, data_dir, listener
from gateway.doctor.report import Result, State
from gateway.front.admin import AdminServer
from gateway.phoenix.transport import Transport
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from gateway.server.listener.tls import AdminTls
from gateway.telemetry.metrics import BuildInfo, Metrics
from tests.certificates import Authority
from tests.config.valid_settings import WHOLE
from tests.doctor.diagnosis import config_of
from tests.other_user import needs_root, open_folder, result_as_user
from tests.ports import free_port

CLOCK = SystemClock()
NOBODY = 65534


async def look_at_dir(path: Path) -> Result:
    """The doctor's findings for this data directory."""
    return await data_dir(config_of({**WHOLE, "GATEWAY_DATA_DIR": str(path)}), Deadline.after(5, CLOCK))


async def look_at_listener(listen: Listen, admin_port: int) -> Result:
    """The doctor's findings for this address, with `admin_port` as the gateway's admin port."""
    config = config_of({**WHOLE, "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{admin_port}"})
    transport = Transport()
    try:
        return await listener(listen, "GATEWAY_LISTEN", config, transport, Deadline.after(5, CLOCK))
    finally:
        await transport.close()


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    """A port on which another program listens."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("mode", "state", "words"),
    [
        (0o700, State.OK, "only its owner"),
        (0o750, State.WARNING, "other users can read"),
        (0o755, State.WARNING, "other users can read"),
        (0o770, State.FAULT, "replace evidence"),
        (0o777, State.FAULT, "replace evidence"),
    ],
)
async def test_who_can_reach_the_data(tmp_path: Path, mode: int, state: State, words: str) -> None:
    """A directory that others can look into is a warning, one that others can write to a fault; both say chmod 700."""
    os.chmod(tmp_path, mode)
    result = await look_at_dir(tmp_path)
    assert (result.state, words in result.what) == (state, True)
    assert (f"chmod 700 {tmp_path}" in result.fix) is (state is not State.OK)


async def test_directory_that_is_not_there(tmp_path: Path) -> None:
    """One that can be made is fine, and is not made now."""
    result = await look_at_dir(tmp_path / "a" / "b")
    assert (result.state, (tmp_path / "a").exists()) == (State.OK, False)


async def test_directory_that_cannot_be_used() -> None:
    """One that this user can neither write to nor make is a fault."""
    with tempfile.TemporaryDirectory(prefix="pgw-doctor-") as name:
        folder = Path(name)
        os.chmod(folder, 0o555)
        config = config_of({**WHOLE, "GATEWAY_DATA_DIR": str(folder)})
        missing = config_of({**WHOLE, "GATEWAY_DATA_DIR": str(folder / "var")})
        is_root = os.geteuid() == 0
        if is_root:
            os.setresuid(NOBODY, NOBODY, 0)  # access() goes by the real user
        try:
            there, gone = [await data_dir(each, Deadline.after(5, CLOCK)) for each in (config, missing)]
        finally:
            if is_root:
                os.setresuid(0, 0, 0)
            os.chmod(folder, 0o700)
    assert (there.state, "cannot be written to" in there.what) == (State.FAULT, True)
    assert (gone.state, "cannot be made" in gone.what) == (State.FAULT, True)


async def test_not_used_with_postgresql() -> None:
    """With DATABASE_URL the directory is skipped."""
    config = config_of({**WHOLE, "DATABASE_URL": "postgresql://u@127.0.0.1/d"})
    assert (await data_dir(config, Deadline.after(5, CLOCK))).state is State.SKIPPED


@needs_root
async def test_a_data_directory_that_kubernetes_opened_to_a_group_of_ours() -> None:
    """With fsGroup the volume belongs to root and is writable by the group: a warning, because it cannot be else."""
    results = result_as_user(_LOOK, _RESULT, {"2000": 2000, "3000": 3000})
    assert [results["2000"][0], results["3000"][0]] == ["warning", "fault"]
    assert "members of group 2000" in results["2000"][1]


_LOOK = """
import asyncio, os, tempfile
from pathlib import Path
from gateway.doctor.machine_checks import _data_dir
folders = {}
for name, group in argument.items():
    folders[name] = Path(tempfile.mkdtemp())
    os.chown(folders[name], 1000, group)
    folders[name].chmod(0o2770)
_data_dir(Path("/nonexistent"))
"""
_RESULT = """
result = {}
for name, folder in folders.items():
    found = _data_dir(folder)
    result[name] = [found.state.value, found.what]
    folder.rmdir()
"""


async def look_at_audit(path: Path, *, required: bool = True) -> Result:
    """The doctor's findings for this audit log."""
    settings = {**WHOLE, "GATEWAY_AUDIT_FILE": str(path), "GATEWAY_AUDIT_REQUIRED": str(required).lower()}
    return await audit_file(config_of(settings), Deadline.after(5, CLOCK))


async def test_audit_log_that_can_be_written(tmp_path: Path) -> None:
    """A file, one that is not there yet, and what the process inherits."""
    (tmp_path / "audit.jsonl").touch()
    paths = (tmp_path / "audit.jsonl", tmp_path / "new.jsonl", Path("/dev/stdout"))
    assert [(await look_at_audit(path)).state for path in paths] == [State.OK] * 3
    assert (await audit_file(config_of(WHOLE), Deadline.after(5, CLOCK))).state is State.SKIPPED


@needs_root
async def test_audit_log_that_cannot_be_written() -> None:
    """A fault that says who the gateway is, and what would happen."""
    with open_folder() as folder:
        (folder / "audit.jsonl").touch(0o600)
        after = """
result = str(_audit_file(Path(argument), True))
"""
        before = "from pathlib import Path\nfrom gateway.doctor.machine_checks import _audit_file\n"
        said = result_as_user(before, after, str(folder / "audit.jsonl"))
    assert "user 1000 with groups 1000, 2000" in said
    assert "every call would be refused" in said


async def test_address_while_a_gateway_with_tls_runs(tmp_path: Path) -> None:
    """Its admin port speaks TLS; it is recognised all the same."""
    authority = Authority()
    certificate, key = authority.issue("gateway.example").write(tmp_path, "server")
    files = TlsFiles(cert_file=certificate, key_file=key, client_ca_file=None)
    metrics = Metrics(CollectorRegistry(), methods={}, build=BuildInfo(version="0", revision="", python="3"))
    tls = AdminTls(files, CLOCK).context
    admin = AdminServer("127.0.0.1:0", metrics, lambda: True, lambda: {"ready": True, "services": {}}, tls=tls)
    await admin.start()
    port = int(admin.address.rpartition(":")[2])
    settings = {"GATEWAY_TLS_CERT_FILE": str(certificate), "GATEWAY_TLS_KEY_FILE": str(key)}
    config = config_of({**WHOLE, **settings, "GATEWAY_ADMIN_LISTEN": f"127.1:{port}"})
    transport = Transport()
    try:
        found = await listener(config.admin_listen, "GATEWAY_ADMIN_LISTEN", config, transport, Deadline.after(5, CLOCK))
    finally:
        await transport.close()
        await admin.stop()
    assert (found.state, "in use by a gateway" in found.what) == (State.SKIPPED, True)


async def test_address_that_is_free() -> None:
    """A free address is ok, and is free afterwards."""
    port = free_port()
    result = await look_at_listener(Listen(host="127.0.0.1", port=port), free_port())
    assert (result.state, result.what) == (State.OK, f"127.0.0.1:{port} is free")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


async def test_address_that_another_program_has() -> None:
    """A taken address without a gateway behind it is a fault that names the setting."""
    async with listening() as port:
        result = await look_at_listener(Listen(host="127.0.0.1", port=port), free_port())
    assert (result.state, "GATEWAY_LISTEN" in result.fix) == (State.FAULT, True)


async def test_address_while_the_gateway_runs() -> None:
    """Where a gateway answers on the admin address, a taken address is its own."""
    metrics = Metrics(CollectorRegistry(), methods={}, build=BuildInfo(version="0", revision="", python="3"))
    admin = AdminServer("127.0.0.1:0", metrics, lambda: True, lambda: {"ready": True, "services": {}})
    await admin.start()
    try:
        async with listening() as port:
            result = await look_at_listener(Listen(host="127.0.0.1", port=port), int(admin.address.rpartition(":")[2]))
    finally:
        await admin.stop()
    assert (result.state, "a gateway that runs here" in result.what) == (State.SKIPPED, True)


async def test_address_of_another_machine() -> None:
    """An address that this machine does not have is a separate kind of fault."""
    result = await look_at_listener(Listen(host="192.0.2.1", port=50051), free_port())
    assert (result.state, "cannot listen on" in result.what) == (State.FAULT, True)


async def test_socket_paths(tmp_path: Path) -> None:
    """A path that is free, one that is left over, one in use, one that cannot be."""
    with tempfile.TemporaryDirectory(prefix="pgw-") as short:
        path = Path(short) / "g.sock"
        free = await look_at_listener(Listen(socket_path=path), free_port())
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            used = await look_at_listener(Listen(socket_path=path), free_port())
        left = await look_at_listener(Listen(socket_path=path), free_port())
        nowhere = await look_at_listener(Listen(socket_path=Path(short) / "no" / "g.sock"), free_port())
    assert [each.state for each in (free, used, left, nowhere)] == [
        State.OK,
        State.SKIPPED,
        State.OK,
        State.FAULT,
    ]
