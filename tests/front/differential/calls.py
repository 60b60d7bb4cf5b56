"""Generated calls: good ones of every shape, and ones that are wrong in a way that has a name."""

from __future__ import annotations

import base64
import gzip
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.struct_pb2 import Struct

from tests.front.differential.handlers import ENDPOINTS, ERRORS

Header = tuple[bytes, bytes]
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
STREAMING = frozenset(one.path for one in ENDPOINTS if one.client_streaming)


@dataclass(kw_only=True)
class WireCall:
    """One call as it goes over the wire. `faults`: what is wrong with it; `pieces`: of the body, each sent alone."""

    path: str
    method: bytes = b"POST"
    content_type: bytes | None = b"application/grpc"
    headers: list[Header] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    ends: bool = True
    trailers: list[Header] | None = None
    faults: list[str] = field(default_factory=list)

    def all_headers(self) -> list[Header]:
        types = [] if self.content_type is None else [(b"content-type", self.content_type)]
        return [
            (b":method", self.method),
            (b":scheme", b"http"),
            (b":authority", b"front"),
            (b":path", self.path.encode()),
            *types,
            (b"te", b"trailers"),
            *self.headers,
        ]


def frame(message: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


def generated(chance: random.Random) -> WireCall:
    """Draw a call; about four in ten are wrong in some way."""
    path = f"/t.T/{chance.choice(('Echo', 'Echo', 'Sized', 'Stream', 'Stream', 'Total', 'Early', 'Each', 'Each'))}"
    call = WireCall(path=path)
    call.headers = _metadata(chance)
    messages = [_request(chance, path) for _ in range(chance.randint(0, 5) if path in STREAMING else 1)]
    frames = _frames(chance, call, messages)
    if chance.random() < 0.4:
        if path == "/t.T/Early":
            call.path = (
                "/t.T/Total"  # whether a fault is seen before an answer that reads nothing is a matter of chance
            )
        frames = chance.choice(MUTATIONS)(chance, call, frames)
    body = b"".join(frames)
    call.pieces = _cut(chance, body)
    return call


def _request(chance: random.Random, path: str) -> bytes:
    request = Struct()
    if path == "/t.T/Sized":
        request["size"] = chance.choice((0, 1, 100, 16_379, 16_384, 65_535, 65_536, 300_000))
    if path == "/t.T/Stream":
        request["size"] = chance.choice((0, 1, 1000, 20_000))
        request["count"] = chance.choice((0, 1, 2, 7, 40))
    if path != "/t.T/Sized" and chance.random() < 0.15:
        request["error"] = chance.choice(ERRORS)
    request["x"] = "z" * chance.choice((0, 0, 1, 50, 5000, 16_384, 70_000))
    return request.SerializeToString(deterministic=True)


def _metadata(chance: random.Random) -> list[Header]:
    found: list[Header] = []
    for _ in range(chance.choice((0, 0, 1, 2, 6))):
        name = chance.choice((b"x-a", b"x-b", b"user-agent", b"x-long", b"authorization"))
        found.append((name, b"v" * chance.choice((0, 1, 20, 1000))))
    if chance.random() < 0.3:
        value = base64.b64encode(chance.randbytes(chance.randint(0, 40)))
        found.append((b"x-data-bin", value if chance.random() < 0.5 else value.rstrip(b"=")))
    if chance.random() < 0.6:
        found.append((b"x-request-id", b"id-%d" % chance.randrange(10**9)))
    if chance.random() < 0.3:
        found.append((b"grpc-timeout", chance.choice((b"1H", b"20M", b"30S", b"30000m", b"99999999u"))))
    if chance.random() < 0.2:
        found.append((b"grpc-accept-encoding", chance.choice((b"identity", b"gzip", b"identity,deflate,gzip", b""))))
    chance.shuffle(found)
    return found


def _frames(chance: random.Random, call: WireCall, messages: list[bytes]) -> list[bytes]:
    """Frame the messages, some of them compressed."""
    encoding = chance.choice((None, None, None, b"identity", b"gzip", b"deflate"))
    if encoding is not None:
        call.headers.append((b"grpc-encoding", encoding))
    pack = _PACK.get(encoding or b"")
    return [
        frame(message) if pack is None or chance.random() < 0.3 else frame(pack(message), 1) for message in messages
    ]


_PACK: dict[bytes, Callable[[bytes], bytes]] = {b"gzip": gzip.compress, b"deflate": zlib.compress}


def _cut(chance: random.Random, body: bytes) -> list[bytes]:
    if chance.random() < 0.7 or len(body) > 1_000_000:
        return [body]
    cuts = sorted(chance.randint(0, len(body)) for _ in range(chance.randint(1, 4)))
    return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


# What may be wrong with a call. Each takes the good frames, notes its name and returns the frames to send.


def _cut_short(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    body = b"".join(frames) or frame(b"x")
    call.faults.append("cut short")
    return [body[: chance.randint(1, len(body) - 1)] if len(body) > 1 else b"\0"]


def _bad_flag(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.faults.append("bad flag")
    return [*frames[:-1], bytes((chance.choice((2, 3, 128, 255)),)) + (frames[-1] if frames else frame(b""))[1:]]


def _too_long(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.faults.append("too long")
    length = chance.choice((MAX_MESSAGE_BYTES + 1, 5_000_000, 2**31, 2**32 - 1))
    return [*frames[: len(frames) - 1], b"\0" + length.to_bytes(4, "big") + bytes(chance.choice((0, 10, 100_000)))]


def _longest(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    request = Struct()
    request["x"] = "z" * (MAX_MESSAGE_BYTES - 30)
    return [frame(request.SerializeToString())]


def _garbage(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    return [*frames[:-1], frame(b"\xff" + chance.randbytes(chance.randint(0, 30)))]


def _none(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    if call.path not in STREAMING:
        call.faults.append("no message")
    return []


def _two(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    if call.path not in STREAMING:
        call.faults.append("two messages")
    return [*frames, *(frames or [frame(b"")])]


def _path(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.path = chance.choice(
        (
            "/t.T/Nothing",
            "/",
            "/t.T",
            "/t.T/Echo/",
            "//t.T/Echo",
            "/T.T/Echo",
            "/t.T/Echo?a=b",
            "/%74.T/Echo",
            "/x" * 99,
        )
    )
    return frames


def _bad_timeout(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.headers = [one for one in call.headers if one[0] != b"grpc-timeout"]
    call.headers.append(
        (b"grpc-timeout", chance.choice((b"", b"S", b"1", b"1s", b"-1S", b"1.5S", b"123456789S", b"x", b"1 S")))
    )
    call.faults.append("bad timeout")
    return frames


def _short_timeout(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.headers = [one for one in call.headers if one[0] != b"grpc-timeout"]
    call.headers.append((b"grpc-timeout", chance.choice((b"20m", b"30000u"))))
    call.path = "/t.T/Hang"
    call.faults.append("deadline passed")
    return frames[:1] or [frame(b"")]


def _not_ended(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.headers = [one for one in call.headers if one[0] != b"grpc-timeout"]
    call.headers.append((b"grpc-timeout", b"40m"))
    call.ends = False
    call.faults.append("not ended")
    return frames[: chance.randint(0, len(frames))]


def _encoding(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.headers = [one for one in call.headers if one[0] != b"grpc-encoding"]
    name = chance.choice((None, b"br", b"zstd", b"", b"GZIP", b"identity"))
    if name is not None:
        call.headers.append((b"grpc-encoding", name))
    call.faults.append("no encoding" if name in (None, b"identity") else "unknown encoding")
    return [frame(gzip.compress(b""), 1), *frames[1:]]


def _broken_gzip(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.headers = [one for one in call.headers if one[0] != b"grpc-encoding"]
    call.headers.append((b"grpc-encoding", b"gzip"))
    packed = gzip.compress(b"\n\0" * 40)
    call.faults.append("broken compression")
    return [frame(chance.choice((packed[:-9], packed[:5], b"nonsense", b"", packed + b"more")), 1)]


def _bomb(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.headers = [one for one in call.headers if one[0] != b"grpc-encoding"]
    call.headers.append((b"grpc-encoding", b"gzip"))
    call.faults.append("bomb")
    return [frame(_BOMB, 1)]


_BOMB = gzip.compress(bytes(20_000_000))


def _content_type(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    good = (b"application/grpc+proto", b"application/grpc;charset=utf-8")
    bad = (
        b"application/grpc+json",
        b"application/grpc-web",
        b"application/json",
        b"text/html",
        b"application/grpcx",
        b"",
        None,
    )
    call.content_type = chance.choice(good + bad)
    if call.content_type not in good:
        call.faults.append("content type")
    return frames


def _method(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.method = chance.choice((b"GET", b"PUT", b"HEAD", b"OPTIONS", b"post"))
    call.faults.append("method")
    return frames


def _odd_metadata(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.headers.append(
        chance.choice(
            (
                (b"x-request-id", b"not an id"),
                (b"x-request-id", b"y" * 200),
                (b"x-request-id", b""),
                (b"x-high", b"caf\xc3\xa9"),
                (b"x-high", b"\x80\xff"),
                (b"grpc-unheard-of", b"1"),
                (b"x-empty", b""),
                (b"x-spaces", b"a  b"),
                (b"grpc-tags-bin", b"AAAA"),
            )
        )
    )
    return frames


def _bad_base64(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.headers.append((b"x-data-bin", chance.choice((b"no base64 at all!", b"AAAAA", b"A=AA"))))
    call.faults.append("bad base64")
    return frames


def _long_metadata(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.headers.append((b"x-much", b"m" * chance.choice((17_000, 30_000, 50_000))))
    call.faults.append("long metadata")
    return frames


def _trailers(chance: random.Random, call: WireCall, frames: list[bytes]) -> list[bytes]:
    call.trailers = [(b"x-trailing", b"1")]
    call.faults.append("request trailers")
    return frames


MUTATIONS = (
    *(_cut_short, _bad_flag, _too_long, _longest, _garbage, _none, _two, _path, _bad_timeout, _short_timeout),
    *(_not_ended, _encoding, _broken_gzip, _bomb, _content_type, _method, _odd_metadata, _bad_base64),
    *(_long_metadata, _trailers),
)
