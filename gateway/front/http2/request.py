"""The headers of a call, read once: what is called, by when, with which metadata; or what is answered in its place.

Pure: headers in, values out. Source: the gRPC project's PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from gateway.errors import FieldFault, GatewayError, InvalidField
from gateway.front.dispatch import UNKNOWN_METHOD, request_id_of
from gateway.front.endpoint import Endpoint
from gateway.front.http2.wire import (
    ENCODINGS,
    RESPONSE_HEADERS,
    Header,
    WireFault,
    parse_timeout,
    status_trailers,
)

ONE_MESSAGE = FieldFault(field="", description="this method takes exactly one message; send one")
_UNIMPLEMENTED = 12
_UNKNOWN_ENCODING = "grpc-encoding names no compression that is read here. Use gzip, deflate or identity."
_NO_METADATA = frozenset(
    {
        b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding", b"grpc-message-type",
        b"connection",
    }
)  # fmt: skip
_COLON = ord(":")

Fields = Mapping[bytes, bytes]
"""The headers by name; of a repeated one the last."""


class Request(NamedTuple):
    """A call as its headers describe it.

    `timeout_s` is None for a call without a deadline. `fault` is what is wrong with the headers; the call ends with it.
    """

    endpoint: Endpoint
    metadata: Mapping[str, str]
    request_id: str
    encoding: str
    timeout_s: float | None
    fault: GatewayError | None


def endpoint_of(fields: Fields, endpoints: Mapping[str, Endpoint]) -> Endpoint | list[Header]:
    """Return what is called, or the headers of the answer to what cannot be a call: not gRPC, or not served here."""
    if fields.get(b":method") != b"POST":
        return [(b":status", b"405"), (b"allow", b"POST")]
    if not _is_grpc(fields.get(b"content-type", b"")):
        return [(b":status", b"415")]
    endpoint = endpoints.get(fields[b":path"].decode("latin-1"))
    if endpoint is None:
        return _unimplemented(UNKNOWN_METHOD, fields)
    if fields.get(b"grpc-encoding", b"identity").decode("latin-1") not in ENCODINGS:
        return _unimplemented(_UNKNOWN_ENCODING, fields)
    return endpoint


def read_request(headers: Sequence[Header], fields: Fields, endpoint: Endpoint, max_metadata_bytes: int) -> Request:
    """Return the call. Its metadata is the caller's own text: without the protocol's headers and `-bin` values."""
    metadata = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in fields.items()
        if name[0] != _COLON and name not in _NO_METADATA and not name.endswith(b"-bin")
    }
    timeout_s, fault = None, None
    timeout = fields.get(b"grpc-timeout")
    if timeout is not None:
        try:
            timeout_s = parse_timeout(timeout.decode("latin-1"))
        except WireFault as broken:
            fault = InvalidField([FieldFault(field="grpc-timeout", description=str(broken))])
    if sum(map(len, chain.from_iterable(headers))) > max_metadata_bytes:
        description = f"is longer than {max_metadata_bytes} bytes; send less of it"
        fault = InvalidField([FieldFault(field="metadata", description=description)])
    encoding = fields.get(b"grpc-encoding", b"identity").decode("latin-1")
    return Request(endpoint, metadata, request_id_of(metadata), encoding, timeout_s, fault)


def early_request_id(fields: Fields) -> str:
    """Return the request id of what is answered before its metadata is read."""
    given = fields.get(b"x-request-id")
    return request_id_of({} if given is None else {"x-request-id": given.decode("latin-1")})


def _is_grpc(content_type: bytes) -> bool:
    """Whether this is gRPC over HTTP/2 with messages of protobuf; `application/grpc-web` is another protocol."""
    return content_type.partition(b";")[0].rstrip() in (b"application/grpc", b"application/grpc+proto")


def _unimplemented(message: str, fields: Fields) -> list[Header]:
    trailing = [("x-request-id", early_request_id(fields))]
    return [*RESPONSE_HEADERS, *status_trailers(_UNIMPLEMENTED, message, trailing)]
