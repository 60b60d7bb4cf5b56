"""A real PostgreSQL for one test session, with its own port and socket. Tests can kill and restart it.

fsync stays on: acknowledged data must survive `kill`.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.ports import free_port

START_WITHIN_S = 30.0
RECOVER_WITHIN_S = 90.0
"""After a kill it syncs what all databases of the tests before have written, as fast as the disk lets it."""
_USER = "postgres"


class PostgresMissing(RuntimeError):
    """There is no PostgreSQL server on this machine, or no user who may run it."""


class PostgresProcess:
    """One PostgreSQL cluster in its own directory. A restart keeps the port."""

    def __init__(self, *options: str) -> None:
        """Find the binaries and a user that is not root; nothing is made before `start`. `options`: NAME=VALUE."""
        self._options = [word for option in options for word in ("-c", option)]
        self._binaries = _find_binaries()
        self._account = account()
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._has_served = False
        self.port = 0

    @property
    def pid(self) -> int:
        """The server's first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def ready_program(self) -> str:
        """The path of `pg_isready`."""
        return str(self._binaries / "pg_isready")

    @property
    def log_text(self) -> str:
        """What it has logged: nothing but fatal errors, unless the options say otherwise."""
        assert self._directory is not None
        return (self._directory / "log").read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait_end(self, within_s: float = 20.0) -> None:
        """Wait until that process is gone without a signal of ours."""
        assert self._process is not None
        self._process.wait(within_s)

    @property
    def url(self) -> str:
        """The cluster's first database, over TCP on loopback."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """A database of this cluster."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers; the first time with an empty cluster."""
        if self._directory is None:
            # A short path: a Unix socket's name holds about 100 bytes.
            self._directory = Path(tempfile.mkdtemp(prefix="pgw-postgres-"))
            if self._account is not None:
                os.chown(self._directory, self._account.pw_uid, self._account.pw_gid)
            self._run_to_end(
                *("initdb", "-D", str(self._directory / "data"), "-U", _USER, "-A", "trust", "-E", "UTF8"),
                *("--locale=C.UTF-8",),
            )
        for attempt in range(5):
            self.port = self.port or free_port()
            log = (self._directory / "log").open("ab")
            self._process = subprocess.Popen(
                [
                    *(str(self._binaries / "postgres"), "-D", str(self._directory / "data")),
                    *("-p", str(self.port), "-k", str(self._directory), "-c", "listen_addresses=127.0.0.1"),
                    *("-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "max_connections=60"),
                    *("-c", "shared_buffers=32MB", "-c", "autovacuum=off", "-c", "log_min_messages=fatal"),
                    *self._quick_recovery(),
                    *self._options,
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self._directory,
                **self._as_account(),  # type: ignore[call-overload]
            )
            log.close()
            if self._answers_in_time():
                self._has_served = True
                return
            self.kill()
            if attempt < 4 and not self._has_served:
                self.port = 0
        said = (self._directory / "log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"PostgreSQL does not start; its log ends with:\n{said}")

    def stop(self) -> None:
        """End it gently and remove the cluster."""
        if self._process is not None:
            self.resume()
            self._process.send_signal(signal.SIGINT)  # "fast": ends sessions, no crash recovery
            try:
                self._process.wait(20)
                self._process = None
            except subprocess.TimeoutExpired:  # its last checkpoint waits for a busy disk, and is not needed any more
                self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def kill(self) -> None:
        """End it as a power cut would: every process of it, at once."""
        if self._process is None:
            return
        children = _children(self._process.pid)
        self._process.kill()
        self._process.wait(10)
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        until = time.monotonic() + 10
        while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < until:
            time.sleep(0.01)
        self._process = None

    def restart(self) -> None:
        """Kill it and start it again on the same port. It recovers from its log."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def create_database(self, name: str) -> str:
        """Make an empty database. Returns its URL."""
        self._run_to_end("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", _USER, name)
        return self.url_of(name)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            for pid in (self._process.pid, *_children(self._process.pid)):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass

    def _answers_in_time(self) -> bool:
        assert self._process is not None
        until = time.monotonic() + (RECOVER_WITHIN_S if self._has_served else START_WITHIN_S)
        while time.monotonic() < until and self._process.poll() is None:
            asked = subprocess.run(
                [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
            )
            if asked.returncode == 0:
                return self._process.poll() is None
            time.sleep(0.02)
        return False

    def _quick_recovery(self) -> tuple[str, ...]:
        """Sync the file system as a whole after a kill. File by file, it took 20 to 30 s for 120 databases."""
        said = subprocess.run(
            [str(self._binaries / "postgres"), "--version"], check=True, capture_output=True, text=True
        )
        version = re.search(r"\) (\d+)", said.stdout)
        if sys.platform != "linux" or version is None or int(version[1]) < 14:
            return ()
        return ("-c", "recovery_init_sync_method=syncfs")

    def _run_to_end(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self._directory,
            **self._as_account(),  # type: ignore[call-overload]
        )

    def _as_account(self) -> dict[str, object]:
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}


def _find_binaries() -> Path:
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    for candidate in candidates:
        if all((candidate / name).exists() for name in ("initdb", "postgres", "pg_isready", "createdb")):
            return candidate
    raise PostgresMissing("no PostgreSQL server is on this machine (Debian: apt-get install postgresql)")


def account() -> pwd.struct_passwd | None:
    """The user to run as; None for our own. PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in (_USER, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresMissing("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
