"""A proxy between the gateway and a store of secrets, which breaks their connection in a given way."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

DOWN, SILENT, DRIPPING = "down", "silent", "dripping"
"""Nobody listens; connections are taken and never answered; an answer comes by one byte a second, without an end."""


class StoreProxy:
    """Forwards to one port on loopback, until `break_as`. In threads: the tests that use it block."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._fault: str | bytes = ""
        self._flows: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._serve()

    def break_as(self, fault: str | bytes) -> None:
        """Break every connection and answer new ones in this way; bytes are the whole answer; "" heals.

        Raises: OSError if another process took the port.
        """
        self._fault = fault
        with self._lock:
            flows, self._flows = self._flows, set()
        for flow in flows:
            _close(flow)
        if fault == DOWN:
            _close(self._listening)
        elif self._listening.fileno() == -1:
            self._listening = socket.create_server(("127.0.0.1", self.port))
            self._serve()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.break_as(DOWN)

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                flow, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                self._flows.add(flow)
            threading.Thread(target=self._answer, args=(flow, self._fault), daemon=True).start()

    def _answer(self, flow: socket.socket, fault: str | bytes) -> None:
        with contextlib.suppress(OSError):
            if fault == "":
                self._forward(flow)
                return
            flow.recv(65536)
            if isinstance(fault, bytes):
                flow.sendall(fault)
                flow.shutdown(socket.SHUT_WR)
                time.sleep(0.2)  # the request may still be arriving: a reset would hide the answer
                _close(flow)
                return
            flow.sendall(b"HTTP/1.1 200 OK\r\nX-Padding: " if fault == DRIPPING else b"")
            while fault == DRIPPING:
                flow.sendall(b"x")
                time.sleep(1)

    def _forward(self, flow: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as onward:
            with self._lock:
                self._flows.add(onward)
            back = threading.Thread(target=_copy, args=(onward, flow), daemon=True)
            back.start()
            _copy(flow, onward)
            back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _close(sink)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
