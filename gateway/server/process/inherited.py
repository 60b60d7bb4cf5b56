"""What a worker of GATEWAY_WORKERS gets from its parent: listening sockets, a folder of the group, a sign of life.

The parent keeps each listening socket open. A worker that ends leaves its socket to the next one in its place, and no
connection that waits in it is lost. The sign of life is a pipe that nobody writes to: its end is the end of the parent.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.streams.shared_topics import SUFFIX

VARIABLE = "_PHOENIX_GATEWAY_WORKER"
"""No setting: with the underscore it does not begin as one, and is not taken for one that is misspelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeat:
    """The place of one worker in its group, as file descriptors and paths.

    `listener`: of GATEWAY_LISTEN; None where the front binds its own. `admin`: of GATEWAY_ADMIN_LISTEN. `socket_path`:
    where the worker alone answers the admin port's paths for its group. `workers`: how many there are in the group.
    """

    number: int
    workers: int
    listener: int | None
    admin: int
    parent: int
    socket_path: str

    @property
    def folder(self) -> Path:
        """The folder with the sockets of all workers."""
        return Path(self.socket_path).parent

    @property
    def boards_path(self) -> Path:
        """Where the worker shows its live boards to the others."""
        return Path(self.socket_path).with_suffix(SUFFIX)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the process has to inherit."""
        return tuple(one for one in (self.listener, self.admin, self.parent) if one is not None)

    def environ(self) -> dict[str, str]:
        """Return the variables that make a process this worker."""
        return {"GATEWAY_WORKERS": "1", VARIABLE: json.dumps(asdict(self))}

    def listening_socket(self) -> socket.socket | None:
        """Return the inherited socket of GATEWAY_LISTEN, if there is one."""
        return None if self.listener is None else _adopted(self.listener)

    def admin_socket(self) -> socket.socket:
        """Return the inherited socket of GATEWAY_ADMIN_LISTEN."""
        return _adopted(self.admin)

    def when_parent_ends(self, watch: Callable[[int, Callable[[], None]], object], then: Callable[[], None]) -> None:
        """Call `then` once when the parent has ended. Args: `watch`: the event loop's `add_reader`."""
        is_over = False

        def ended() -> None:
            nonlocal is_over
            with suppress(OSError):
                os.read(self.parent, 1)
            if not is_over:
                is_over = True
                then()

        watch(self.parent, ended)


def own_seat() -> WorkerSeat | None:
    """Return this process's place in a group, or None for a gateway of one process."""
    text = os.environ.get(VARIABLE)
    return None if text is None else WorkerSeat(**json.loads(text))


def _adopted(descriptor: int) -> socket.socket:
    return socket.socket(fileno=os.dup(descriptor))
