"""Makes the seats of GATEWAY_WORKERS: each worker's listening sockets, held by the parent, and the group's folder."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.config import Config, FrontKind, Listen
from gateway.server.listener.bind import bound
from gateway.server.process.inherited import WorkerSeat


@contextmanager
def seats_of(config: Config) -> Iterator[list[WorkerSeat]]:
    """Bind the sockets and yield a seat for each worker. Raises: ListenFailed.

    On TCP each worker has a socket of its own on the same port, and the kernel spreads connections over them. A Unix
    socket is one for all. The grpc front binds GATEWAY_LISTEN itself.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="phoenix-gateway-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        stack.callback(os.close, writing)
        count = config.workers
        admins = _bound_for_all(config.admin_listen, "GATEWAY_ADMIN_LISTEN", count, stack)
        listeners = (
            _bound_for_all(config.listen, "GATEWAY_LISTEN", count, stack)
            if config.front is FrontKind.HTTP2
            else [None] * count
        )
        yield [
            WorkerSeat(
                number=number,
                workers=count,
                listener=None if listener is None else listener.fileno(),
                admin=admin.fileno(),
                parent=reading,
                socket_path=str(folder / f"{number}.0.sock"),
            )
            for number, (listener, admin) in enumerate(zip(listeners, admins, strict=True))
        ]


def _bound_for_all(listen: Listen, setting: str, count: int, stack: ExitStack) -> list[socket.socket]:
    first = stack.enter_context(bound(listen, setting, shares_port=True))
    if listen.socket_path is not None:
        return [first] * count
    same = Listen(host=listen.host, port=first.getsockname()[1])
    return [first, *(stack.enter_context(bound(same, setting, shares_port=True)) for _ in range(count - 1))]
