"""Reads an answer of a store up to a size and within a time: whatever answers in its place may never end.

By itself, `requests` reads an answer whole, and counts its time-out from one packet to the next: a server that sends a
byte each second holds its thread for ever, in a header as in the body.
"""

from __future__ import annotations

import functools
import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

import requests
from requests.adapters import HTTPAdapter

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""More than any secret, list of keys or batch of signatures."""
_READ_WITHIN_S = 10.0
_CHUNK_BYTES = 64 * 1024


class AnswerTooLarge(requests.RequestException):
    """The answer is longer than a store's can be."""


class BoundedAdapter(HTTPAdapter):
    """The transport of a session. `mount_on` puts it on the session of hvac or google-auth."""

    def mount_on(self, session: requests.Session) -> None:
        """Send all requests of the session by this adapter."""
        session.mount("https://", self)
        session.mount("http://", self)

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """Return the pool of the store's connections, or of the proxy's before it."""
        pool = super().get_connection_with_tls_context(*arguments, **options)
        pool.ConnectionCls = _timed(pool.ConnectionCls)
        return pool

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request and read its whole answer. Raises: RequestException."""
        answer = super().send(*arguments, **options)
        content = bytearray()
        try:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise AnswerTooLarge
        except BaseException:
            answer.close()
            raise
        answer._content = bytes(content)  # where the library keeps what it has read itself
        return answer


class _TimedReads(io.RawIOBase):
    """What a socket receives for one answer, from the status line on. A read fails once the time is over."""

    def __init__(self, reader: io.BufferedReader, connection: socket.socket) -> None:
        self._reader = reader
        self._socket = connection
        self._silence_s = connection.gettimeout()
        self._until = time.monotonic() + _READ_WITHIN_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left_s if self._silence_s is None else min(left_s, self._silence_s))
        return self._reader.raw.readinto(buffer)

    def close(self) -> None:
        self._reader.close()
        super().close()


class _TimedAnswer(HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_TimedReads(self.fp, sock))


class _TimedConnection:
    response_class = _TimedAnswer


@functools.cache
def _timed(connection: type) -> type:
    """Return the class of connections whose answers are timed."""
    if issubclass(connection, _TimedConnection):
        return connection
    return type(connection.__name__, (_TimedConnection, connection), {})
