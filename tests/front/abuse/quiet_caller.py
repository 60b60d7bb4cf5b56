"""A caller that behaves: what it waits for its answers while someone else attacks."""

from __future__ import annotations

import threading
import time
from typing import Any, Self

import grpc

WITHIN_S = 15.0


class QuietCaller:
    """Calls every few milliseconds from a thread of its own, as a context manager."""

    def __init__(self, port: int, *, every_s: float = 0.005) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.use_local_subchannel_pool", 1),))
        self._call: Any = self._channel.unary_unary("/t.T/Echo")
        self._every_s = every_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.waited_s: list[float] = []
        self.failed: list[str] = []
        self.refused = 0
        """Calls that were refused as OVERLOADED."""
        self.answered = 0

    def _run(self) -> None:
        while not self._is_over.is_set():
            began = time.monotonic()
            try:
                self._call(b"", timeout=WITHIN_S)
                self.waited_s.append(time.monotonic() - began)
                self.answered += 1
            except grpc.RpcError as error:
                failed: grpc.Call = error  # type: ignore[assignment]
                if failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    self.refused += 1
                else:
                    self.failed.append(f"{failed.code()} {failed.details()}")
            time.sleep(self._every_s)

    def p99_s(self) -> float:
        """Return what 99 of 100 calls waited at most, and forget them."""
        waited, self.waited_s = sorted(self.waited_s), []
        return waited[len(waited) * 99 // 100] if waited else float("inf")

    def __enter__(self) -> Self:
        self._call(b"", timeout=WITHIN_S)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(WITHIN_S + 1)
        self._channel.close()
