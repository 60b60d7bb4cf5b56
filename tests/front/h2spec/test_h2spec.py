"""h2spec, a conformance test of HTTP/2 servers, against both engines: nothing fails but what is written here."""

from __future__ import annotations

import asyncio
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from gateway.actions.shared.call import Call
from gateway.front.endpoint import Endpoint
from gateway.front.http2.engine import Engine, EngineSettings, Receiver
from gateway.front.http2.h2_engine import H2Engine
from gateway.front.http2.nghttp2_engine import Nghttp2Engine
from gateway.front.http2.wire import Header
from tests.front.http2.peer import serving
from tools import go_tools

PACKAGE = "github.com/summerwind/h2spec/cmd/h2spec"
ANSWERS_WITHIN_S = {"nghttp2": 3, "h2": 8}
"""A case that fails takes as long: only what is not answered at all."""
TIMES = 3
"""A case has failed when it failed in all of them. h2spec writes a frame in pieces and wants FIN at the end of a
connection: an engine that refuses the first piece leaves the rest unread, and the kernel then sends RST."""

_FORGOTTEN = "libnghttp2 forgets a stream when it closes, and ignores frames that still come for it"
_PRIORITY = "RFC 9113 does away with priorities; libnghttp2 ignores them"
FAILS: dict[str, dict[str, str]] = {
    "nghttp2": {
        "http2/5.1 closed: Sends a DATA frame after sending RST_STREAM frame": _FORGOTTEN,
        "http2/5.1 closed: Sends a HEADERS frame after sending RST_STREAM frame": _FORGOTTEN,
        "http2/5.1 closed: Sends a DATA frame": _FORGOTTEN,
        "http2/5.1 closed: Sends a HEADERS frame": _FORGOTTEN,
        "http2/5.1.1 Sends stream identifier that is numerically smaller than previous": _FORGOTTEN,
        "http2/5.3.1 Sends PRIORITY frame that depend on itself": _PRIORITY,
        "http2/6.3 Sends a PRIORITY frame with 0x0 stream identifier": _PRIORITY,
        "http2/6.9.1 Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a "
        "stream": "libnghttp2 ends the connection of a client that counts its windows wrong, not only the stream",
    },
    "h2": {},
}
"""What may fail, by engine: section and case to the reason."""


class _AsCalls:
    """h2spec sends GET without a content type: makes a gRPC call of it, so that an answer with data comes back."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def on_request(self, stream_id: int, headers: Sequence[Header], *, end: bool) -> None:
        own = {b":method": b"POST", b":path": b"/t/Answer", b"content-type": b"application/grpc"}
        rest = [header for header in headers if header[0] not in own]
        self._receiver.on_request(stream_id, [*own.items(), *rest], end=end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)


class _Nghttp2(Nghttp2Engine):
    def receive(self, data: bytes, receiver: Receiver) -> None:
        super().receive(data, _AsCalls(receiver))


class _H2(H2Engine):
    def receive(self, data: bytes, receiver: Receiver) -> None:
        super().receive(data, _AsCalls(receiver))


ENGINES: dict[str, Callable[[EngineSettings], Engine]] = {"nghttp2": _Nghttp2, "h2": _H2}


async def _answer(requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[bytes]:
    """Answers at once, and ends a little after the request: cases about half-closed streams need it."""
    yield b"some data"
    try:
        async for _ in requests:
            pass
    except Exception:
        pass  # bodies of h2spec are no gRPC messages
    await asyncio.sleep(0.1)


@pytest.mark.timeout(go_tools.BUILD_WITHIN_S + 120)
@pytest.mark.parametrize("engine", sorted(ENGINES))
async def test_nothing_fails_but_what_is_listed(engine: str, tmp_path: Path) -> None:
    """Each failure is known with its reason, and each that is known still fails."""
    try:
        program = await asyncio.to_thread(go_tools.built, Path(__file__).parent / "go", PACKAGE)
    except go_tools.NotBuilt as reason:
        pytest.skip(str(reason))
    served = Endpoint(
        path="/t/Answer", handler=_answer, request_class=Struct, client_streaming=True, server_streaming=True
    )

    async def run(*sections: str) -> tuple[int, set[str]]:
        """Return how many cases there are in these sections, or in all, and those that fail."""
        report = tmp_path / "report.xml"
        report.unlink(missing_ok=True)
        options = ("-h", "127.0.0.1", "-p", str(port), "-o", str(ANSWERS_WITHIN_S[engine]), "--strict", "-j")
        running = await asyncio.create_subprocess_exec(
            *(str(program), *options, str(report), *sections),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await asyncio.wait_for(running.wait(), 100)
        text = re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", b"", report.read_bytes())  # it shows bytes that XML forbids
        cases = list(ElementTree.fromstring(text).iter("testcase"))
        failed = {
            f"{case.get('package')} {case.get('classname')}"
            for case in cases
            if case.find("failure") is not None or case.find("error") is not None
        }
        return len(cases), failed

    async with serving([served], ENGINES[engine]) as (_, port):
        count, failed = await run()
        for _ in range(TIMES - 1):
            unlisted = failed - FAILS[engine].keys()
            if unlisted:
                _, again = await run(*sorted({case.partition(" ")[0] for case in unlisted}))
                failed -= unlisted - again
    assert count > 140
    assert set(FAILS[engine]) == failed
