"""What the gateway needs from this machine: the data directory, and the addresses that it listens on."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import ssl
import stat
from pathlib import Path

import orjson

from gateway.config import Config, Listen
from gateway.doctor.report import Result, fault, ok, skipped, warning
from gateway.keys.sources.file_access import whoami
from gateway.phoenix.http_types import ExchangeFailed, Request, Sender
from gateway.resilience.deadline import Deadline
from gateway.store.failures import DISK_FULL
from gateway.telemetry.audit_file import inherited_descriptor

LEAST_FREE_BYTES = 256 * 1024 * 1024
_FULL_BYTES = 64 * 1024
_MAX_PAGE_BYTES = 64 * 1024
NOBODY_ANSWERS = "no gateway answers on the admin address"
_SEE_DEGRADED = (
    "docs/degraded-modes.md says what calls get meanwhile; do not restart it while a store of secrets is away"
)


async def data_dir(config: Config, deadline: Deadline) -> Result:
    """Check who can reach the directory of the evidence, and whether it has free space."""
    if config.database_url is not None:
        return skipped("not used: DATABASE_URL is set")
    return await asyncio.to_thread(_data_dir, config.data_dir)


def _data_dir(path: Path) -> Result:
    try:
        status = path.stat()
    except FileNotFoundError:
        parent = next((each for each in path.absolute().parents if each.exists()), Path("/"))
        if not os.access(parent, os.W_OK | os.X_OK):
            return fault(
                f"{path} does not exist and cannot be made",
                f"make it for this user (mode 0700), or let it write to {parent}",
            )
        return ok(f"{path} does not exist yet; the first start makes it (mode 0700)")
    except OSError as error:
        return fault(f"{path} cannot be read ({error.strerror})", "check GATEWAY_DATA_DIR and its owner")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return fault(f"{path} cannot be written to by this user", f"run chown and chmod 700 on {path}")
    for_group = status.st_mode & stat.S_IWGRP and not status.st_mode & stat.S_IWOTH
    if for_group and status.st_gid != 0 and status.st_gid in os.getgroups():
        return warning(
            f"members of group {status.st_gid} can write to {path}: they could replace evidence",
            "Kubernetes opens volumes to fsGroup: let no other pod have this group",
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return fault(f"other users can write to {path}: they could replace evidence", f"run chmod 700 {path}")
    free = shutil.disk_usage(path).free
    if free < _FULL_BYTES:
        return fault(*DISK_FULL)
    if free < LEAST_FREE_BYTES:
        return warning(
            f"the disk of {path} has {free // 2**20} MiB left; when it is full, every wallet call gets 503",
            "free some space, or move GATEWAY_DATA_DIR",
        )
    if status.st_mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IXGRP | stat.S_IXOTH):
        return warning(f"other users can read {path}", f"run chmod 700 {path}")
    return ok(f"only its owner can reach {path}; {free // 2**30} GiB left")


async def audit_file(config: Config, deadline: Deadline) -> Result:
    """Check that the audit log can be written where it is configured."""
    if config.audit is None:
        return skipped("no audit log is configured")
    return await asyncio.to_thread(_audit_file, config.audit.file, config.audit.required)


def _audit_file(path: Path, required: bool) -> Result:
    if inherited_descriptor(path) is not None:
        return ok(f"{path}: what the gateway inherits there, whoever owns it")
    there = path.exists()
    if path.parent.is_dir() and shutil.disk_usage(path.parent).free < _FULL_BYTES:
        return fault(f"the disk of {path} is full: {_effect(required)}", "free some space on it")
    if os.access(path, os.W_OK) if there else os.access(path.parent, os.W_OK | os.X_OK):
        return ok(f"{path} can be written" + ("" if there else "; the gateway makes it (mode 0600)"))
    return fault(
        f"{path} cannot be written ({whoami()}): {_effect(required)}",
        f"let this user write to {path if there else path.parent}",
    )


def _effect(required: bool) -> str:
    return "every call would be refused" if required else "its records would be lost"


async def running_gateway(listen: Listen, has_tls: bool, sender: Sender, deadline: Deadline) -> Result:
    """Ask a gateway that runs with these settings whether it is ready, and repeat what it says.

    Args: `listen`: its admin address; `has_tls`: whether it uses TLS where others can reach it.
    """
    status, body = await _admin_page(listen, has_tls, "/readyz", sender, deadline)
    if status not in (200, 503):
        return ok(NOBODY_ANSWERS)
    try:
        report = orjson.loads(body)
        causes = {(one["trouble"], one["advice"]): None for one in report.get("reasons", {}).values()}
        lacks = "; ".join(f"{part}: {trouble}" for part, trouble in report.get("degraded", {}).items())
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return ok("what answers on the admin address is not a gateway")
    what, fix = ("; ".join(dict.fromkeys(texts)) for texts in zip(*causes, strict=True)) if causes else ("", "")
    if report.get("ready") and causes:
        return warning(f"the gateway that runs here is ready, but not with all services: {what}{_also(lacks)}", fix)
    if report.get("ready") and lacks:
        return warning(f"the gateway that runs here is ready, but does without {lacks}", _SEE_DEGRADED)
    if report.get("ready"):
        return ok("the gateway that runs here is ready")
    parts = ", ".join(report.get("not_ready", []))
    return fault(f"the gateway that runs here is not ready ({parts}): {what}{_also(lacks)}", fix or "wait until it is")


def _also(lacks: str) -> str:
    return f"; it does without {lacks}" if lacks else ""


async def is_gateway_running(config: Config, sender: Sender, deadline: Deadline) -> bool:
    """Whether a gateway answers on the admin address."""
    return (await _admin_page(config.admin_listen, config.tls is not None, "/healthz", sender, deadline))[0] == 200


async def _admin_page(
    listen: Listen, has_tls: bool, page: str, sender: Sender, deadline: Deadline
) -> tuple[int, bytes]:
    """Return status and body of a page of the admin port; status 0 without an answer."""
    if listen.socket_path is not None or listen.port == 0:
        return 0, b""
    if has_tls and not listen.is_local:
        return await _page_over_tls(listen, page, deadline)
    request = Request(method="GET", url_base=f"http://{listen.target}", raw_path=page)
    try:
        answer = await sender.send(request, deadline, _MAX_PAGE_BYTES)
    except ExchangeFailed:
        return 0, b""
    return answer.status, answer.body


async def _page_over_tls(listen: Listen, page: str, deadline: Deadline) -> tuple[int, bytes]:
    """Ask without a check of the certificate: it may name other hosts, and nothing secret is sent."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104 - it is compared
    try:
        async with asyncio.timeout(deadline.remaining()):
            reader, writer = await asyncio.open_connection(host, listen.port, ssl=context)
            writer.write(f"GET {page} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
            answer = await reader.read(_MAX_PAGE_BYTES)
            writer.close()
    except (OSError, TimeoutError):
        return 0, b""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head[9:12]
    return (int(status) if status.isdigit() else 0), body


async def listener(listen: Listen, setting: str, config: Config, sender: Sender, deadline: Deadline) -> Result:
    """Check that the address can be bound; skipped while a gateway runs on this machine."""
    if listen.socket_path is not None:
        return await asyncio.to_thread(_socket_path, listen.socket_path, setting)
    if listen.port == 0:
        return ok("the start picks a free port")
    trouble = await asyncio.to_thread(_bind, listen)
    if trouble is None:
        return ok(f"{listen.target} is free")
    if trouble.errno == errno.EADDRINUSE and await is_gateway_running(config, sender, deadline):
        return skipped(f"{listen.target} is in use by a gateway that runs here")
    if trouble.errno == errno.EADDRINUSE:
        return fault(
            f"{listen.target} is in use, and no gateway answers on GATEWAY_ADMIN_LISTEN",
            f"stop the program that listens there (ss -ltnp shows it), or set {setting} to another address",
        )
    return fault(
        f"the gateway cannot listen on {listen.target} ({trouble.strerror or type(trouble).__name__})",
        f"correct {setting}: it needs an address of this machine, and a port that this user may use",
    )


def _bind(listen: Listen) -> OSError | None:
    try:
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as attempt:
            # As servers do: an address whose last connections are still closing is free.
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(address)
    except OSError as error:
        return error
    return None


def _socket_path(path: Path, setting: str) -> Result:
    if path.exists():
        try:
            with socket.socket(socket.AF_UNIX) as attempt:
                attempt.settimeout(1)
                attempt.connect(str(path))
        except OSError:
            return ok(f"{path} is left over from an earlier start")
        return skipped(f"{path} is in use; a gateway may be running here")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return fault(f"{path} cannot be made", f"make its folder for this user, or set {setting} to another path")
    return ok(f"{path} is free")
