"""The containers' health check: `python healthz.py URL [CA_FILE]`. Exit code 0 for status 200, otherwise 1.

It uses only the standard library and no proxy.
"""

from __future__ import annotations

import http.client
import ssl
import sys
from urllib.parse import urlsplit

WITHIN_S = 2.0


def main(arguments: list[str]) -> int:
    """Request the URL and return the exit code."""
    url, ca_file = urlsplit(arguments[0]), arguments[1] if len(arguments) > 1 else None
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        trusted = ssl.create_default_context(cafile=ca_file)
        trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as the gateway itself, on every Python
        connection = http.client.HTTPSConnection(url.netloc, timeout=WITHIN_S, context=trusted)
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=WITHIN_S)
    try:
        connection.request("GET", url.path or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as failed:
        sys.stderr.write(f"{type(failed).__name__}\n")
        return 1
    finally:
        connection.close()
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
