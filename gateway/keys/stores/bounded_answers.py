"""Reads an answer of a store up to a size and within a time: whatever answers in its place may never end.

By itself, `requests` reads an answer whole, and counts its time-out from one packet to the next.
"""

from __future__ import annotations

import time
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
    """The transport of a session. Mount it on the session of hvac or google-auth."""

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request and read its whole answer. Raises: RequestException."""
        answer = super().send(*arguments, **options)
        until = time.monotonic() + _READ_WITHIN_S
        content = bytearray()
        try:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise AnswerTooLarge
                if time.monotonic() > until:
                    raise requests.ReadTimeout
        except BaseException:
            answer.close()
            raise
        answer._content = bytes(content)  # where the library keeps what it has read itself
        return answer
