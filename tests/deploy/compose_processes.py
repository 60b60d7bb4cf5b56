"""Runs the services of docker-compose.yml as processes of this machine, where there is no Docker engine.

Same commands, same environment, same health checks. What a container gives is put in its place: service names and ports
become free ports of loopback, mounted files become files, and what an image's entry point does for PostgreSQL is done
here. What only an engine can show is not shown: images, networks, read-only root, users, limits.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PORTS = {
    "gateway-1": (50051, 9464),
    "gateway-2": (50051, 9464),
    "redis": (6379,),
    "postgres": (5432,),
    "sandbox": (9000, 9001, 9002, 9003, 9004),
}
"""What each service listens on inside its container."""
HEALTHY_WITHIN_S = 40.0
_PROGRAMS = {"phoenix-gateway": [sys.executable, "-m", "gateway"], "python": [sys.executable]}
_OWN_HOSTS = ("0.0.0.0", "127.0.0.1", "localhost")
_ADDRESS = re.compile(
    rf"(?<![\w.])(?:(?P<host>{'|'.join(map(re.escape, (*PORTS, *_OWN_HOSTS)))}):)?(?P<port>[0-9]{{4,5}})(?![\w.-])"
)
_SECONDS = re.compile(r"([0-9]+)s")


class ServerMissing(RuntimeError):
    """A program that the compose file starts is not on this machine."""


class Stack:
    """The services of one compose file, as processes; a context manager that ends what it started."""

    def __init__(self, compose: dict[str, Any], folder: Path) -> None:
        """Choose ports and write the mounted files. Nothing runs before `up`."""
        self._services: dict[str, dict[str, Any]] = compose["services"]
        self._folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = {name: _free_ports(ports) for name, ports in PORTS.items()}
        self._mounted = {
            **{f"/run/secrets/{name}": Path(each["file"]) for name, each in compose["secrets"].items()},
            **{
                one["target"]: ROOT / compose["configs"][one["source"]]["file"]
                for service in self._services.values()
                for one in service.get("configs", [])
            },
        }
        (folder / "mounted").mkdir(mode=0o700)
        for name in self._services:
            self.directory(name).mkdir(parents=True)
        for name in ("/run/secrets/redis_url", "/run/secrets/database_url"):
            copy = folder / "mounted" / Path(name).name
            copy.touch(mode=0o600)
            copy.write_text(self._translated("gateway-1", self._mounted[name].read_text()))
            self._mounted[name] = copy
        # PostgreSQL may have to run as another user than ours, who must reach its data.
        self._data = Path(self._folder / "data")

    def port(self, service: str, port: int) -> int:
        """Return where a container's port is here."""
        return self._ports[service][port]

    def environment(self, service: str) -> dict[str, str]:
        """Return what the compose file gives the service, translated, with what the image brings."""
        given = self._services[service].get("environment", {})
        translated = {name: self._translated(service, str(value)) for name, value in given.items()}
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.directory(service)),
            "PYTHONDONTWRITEBYTECODE": "1",
            **translated,
        }

    def directory(self, service: str) -> Path:
        """Return the working directory of the service, shared with no other."""
        return self._folder / "directories" / service

    def log_path(self, service: str) -> Path:
        """Return the file that holds what the service wrote."""
        return self._folder / f"{service}.log"

    def up(self, service: str) -> None:
        """Start a service after those it depends on, and wait until its health check passes.

        Raises: ServerMissing; RuntimeError with the end of its log when it does not become healthy.
        """
        if service in self.processes:
            return
        for name, how in self._services[service].get("depends_on", {}).items():
            assert how["condition"] == "service_healthy", how
            self.up(name)
        command = self._command(service, self._services[service]["command"])
        account = self._prepare_postgres() if service == "postgres" else None
        if service == "redis":
            command += ["--port", str(self.port("redis", 6379)), "--bind", "127.0.0.1"]
        if service == "postgres":
            command += ["-p", str(self.port("postgres", 5432)), "-c", "listen_addresses=127.0.0.1", "-k", ""]
        with self.log_path(service).open("ab") as log:
            self.processes[service] = subprocess.Popen(
                command,
                cwd=self._data if service == "postgres" else self.directory(service),
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **_as(account),
            )
        until = time.monotonic() + HEALTHY_WITHIN_S
        while not self.is_healthy(service):
            if self.processes[service].poll() is not None or time.monotonic() > until:
                reported = self.log_path(service).read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{service} does not become healthy: {reported}")
            time.sleep(0.05)

    def is_healthy(self, service: str) -> bool:
        """Run the service's own health check once."""
        kind, *test = self._services[service]["healthcheck"]["test"]
        command = ["sh", "-c", self._translated(service, test[0])] if kind == "CMD-SHELL" else test
        timeout = _seconds(self._services[service]["healthcheck"]["timeout"])
        try:
            done = subprocess.run(
                self._command(service, command),
                cwd=self.directory(service),
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def stop(self, service: str) -> int:
        """Send the service its stop signal; return its exit code. Raises: TimeoutExpired after its grace period."""
        process = self.processes.pop(service)
        name = self._services[service].get("stop_signal", "SIGTERM")
        try:
            if process.poll() is None:
                process.send_signal(signal.Signals[name])
            return process.wait(_seconds(self._services[service].get("stop_grace_period", "10s")))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(10)

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        for service in reversed(list(self.processes)):
            try:
                self.stop(service)
            except subprocess.TimeoutExpired:
                pass  # killed by `stop`, as its test expects

    def _command(self, service: str, command: list[str]) -> list[str]:
        first, *rest = [self._translated(service, word) for word in command]
        program = _PROGRAMS.get(first) or [_find(first)]
        return [*program, *rest]

    def _translated(self, service: str, text: str) -> str:
        for mounted, path in self._mounted.items():
            text = re.sub(re.escape(mounted) + r"(?![\w.-])", str(path), text)
        text = text.replace("/app/", f"{ROOT}/").replace("/var/lib/postgresql/data", str(self._folder / "data"))
        text = _ADDRESS.sub(lambda match: self._address(service, match), text)
        return "127.0.0.1" if text == "0.0.0.0" else text

    def _address(self, service: str, match: re.Match[str]) -> str:
        host, port = match["host"], int(match["port"])
        owner = service if host is None or host in _OWN_HOSTS else host
        if port not in self._ports[owner]:
            return match[0]
        return f"{self._ports[owner][port]}" if host is None else f"127.0.0.1:{self._ports[owner][port]}"

    def _prepare_postgres(self) -> pwd.struct_passwd | None:
        """Do what the image's entry point does at the first start: the cluster, its user, password and database."""
        environment = self.environment("postgres")
        account = _account()
        self._data.mkdir(mode=0o700)
        password = self._data / "password"
        password.touch(mode=0o600)
        password.write_text(Path(environment["POSTGRES_PASSWORD_FILE"]).read_text())
        if account is not None:
            os.chown(self._data, account.pw_uid, account.pw_gid)
            os.chown(password, account.pw_uid, account.pw_gid)
            self._folder.chmod(0o711)
        made = [_find("initdb"), "-D", environment["PGDATA"], "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8"]
        made += [f"--username={environment['POSTGRES_USER']}", f"--pwfile={password}"]
        made += environment["POSTGRES_INITDB_ARGS"].split()
        self._run(made, environment, account)
        single = [_find("postgres"), "--single", "-D", environment["PGDATA"], "postgres"]
        self._run(single, environment, account, f'CREATE DATABASE "{environment["POSTGRES_DB"]}"\n')
        return account

    def _run(
        self, command: list[str], environment: dict[str, str], account: pwd.struct_passwd | None, reported: str = ""
    ) -> None:
        done = subprocess.run(
            command,
            cwd=self._data,
            env=environment,
            input=reported.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=60,
            **_as(account),
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def _as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _account() -> pwd.struct_passwd | None:
    """Who PostgreSQL runs as: ourselves, unless we are root, which it refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerMissing("no user to run PostgreSQL as")


def _find(program: str) -> str:
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True)
    found = shutil.which(program) or (str(beside[0]) if beside else None)
    if found is None:
        raise ServerMissing(f"{program} is not on this machine")
    return found


def _seconds(text: str) -> int:
    match = _SECONDS.fullmatch(text)
    assert match is not None, text
    return int(match[1])


def _free_ports(ports: tuple[int, ...]) -> dict[int, int]:
    """Return a free port for each, in a row as the originals are (the sandbox counts on from its first)."""
    in_a_row = ports == tuple(range(ports[0], ports[0] + len(ports)))
    for _ in range(200):
        with ExitStack() as held:
            found: list[int] = []
            for index, _port in enumerate(ports):
                wanted = found[0] + index if in_a_row and found else free_port()
                probe = held.enter_context(socket.socket())
                try:
                    probe.bind(("127.0.0.1", wanted))
                except (OSError, OverflowError):
                    break
                found.append(probe.getsockname()[1])
            if len(found) == len(ports):
                return dict(zip(ports, found, strict=True))
    raise RuntimeError("no free ports in a row")
