"""A real PgBouncer with the defaults of its package, in front of one PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from tests.ports import free_port
from tests.postgres_process import PostgresProcess, account

START_WITHIN_S = 20.0


class PgBouncerMissing(RuntimeError):
    """There is no PgBouncer on this machine."""


class PgBouncerProcess:
    """One PgBouncer. A context manager that ends what it started."""

    def __init__(self, postgres: PostgresProcess, pool_mode: str, **settings: str) -> None:
        """Args: `settings` are further lines of its section [pgbouncer]. Raises: PgBouncerMissing."""
        found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
        if found is None:
            raise PgBouncerMissing("no PgBouncer is on this machine (Debian: apt-get install pgbouncer)")
        self._program = found
        self._postgres = postgres
        self._settings = {"pool_mode": pool_mode, **settings}
        self._directory = Path(tempfile.mkdtemp(prefix="pgw-pgbouncer-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def url_of(self, url: str) -> str:
        """The URL of a database of that PostgreSQL, through this PgBouncer."""
        return url.replace(f":{self._postgres.port}/", f":{self.port}/")

    def __enter__(self) -> Self:
        user = account()
        configuration = self._directory / "pgbouncer.ini"
        users = self._directory / "users.txt"
        users.write_text('"postgres" ""\n')
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={self._postgres.port}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = trust",
            f"auth_file = {users}",
            *(f"{name} = {value}" for name, value in self._settings.items()),
        ]
        configuration.write_text("\n".join(lines) + "\n")
        if user is not None:
            for path in (self._directory, configuration, users):
                os.chown(path, user.pw_uid, user.pw_gid)
        self._start()
        return self

    def restart(self) -> None:
        """End it, with all its connections, and start it again on the same port."""
        self._end()
        self._start()

    def _start(self) -> None:
        user = account()
        as_user = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process = subprocess.Popen(
            [self._program, "-q", str(self._directory / "pgbouncer.ini")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._directory,
            **as_user,  # type: ignore[call-overload]
        )
        until = time.monotonic() + START_WITHIN_S
        while subprocess.run([self._postgres.ready_program, "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            assert self._process.poll() is None, "PgBouncer does not start"
            assert time.monotonic() < until, "PgBouncer does not answer"
            time.sleep(0.02)

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)

    def __exit__(self, *_: object) -> None:
        self._end()
        shutil.rmtree(self._directory, ignore_errors=True)
