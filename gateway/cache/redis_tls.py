"""TLS to Redis with one context for all connections.

Making a context reads every authority of the system, which stops the event loop for tens of milliseconds. The client
library makes one for each connection, and connections are replaced every minute.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any

from gateway.core.trust import as_on_every_python


def sharing_context(connection_class: type, ca_file: str | None) -> Any:
    """Return a class of TLS connections that share a context. It trusts the system's authorities and `ca_file`.

    A changed file makes a new context. A connection raises ssl.SSLError if the file cannot be read.
    """

    class Shared(connection_class):  # type: ignore[misc]
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.ssl_context.context = _context(ca_file, _stamp_of(ca_file))

    return Shared


@lru_cache(maxsize=2)
def _context(ca_file: str | None, _stamp: tuple[int, ...]) -> ssl.SSLContext:
    context = as_on_every_python(ssl.create_default_context())
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def _stamp_of(ca_file: str | None) -> tuple[int, ...]:
    if ca_file is None:
        return ()
    try:
        status = Path(ca_file).stat()
    except OSError as error:
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, "ca_file cannot be read") from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
