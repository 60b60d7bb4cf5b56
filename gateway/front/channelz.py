"""channelz as pages of the admin port: gRPC's own view of the servers, channels and sockets of this process, as JSON.

`/channelz/METHOD?field=value` calls a method of `grpc.channelz.v1.Channelz` and shows its answer, for example
`/channelz/GetServers` or `/channelz/GetServerSockets?server_id=1`. The servicer is that of grpc; it needs no server
(docs/adr/0023). The public listener does not serve channelz: it would tell every caller of all others.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import grpc
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from gateway.front.published_keys import Page

_PREFIX = "/channelz/"
_JSON = "application/json"


def other_front_page(path: str, query: str) -> Page | None:
    """Return the answer to a path of channelz where the HTTP/2 front serves the calls; None for any other path."""
    if not path.startswith(_PREFIX):
        return None
    body = b'{"error":"not_this_front","detail":"channelz shows servers of GATEWAY_FRONT=grpc; see /metrics"}'
    return Page(content_type=_JSON, body=body, status=404)


class _Context:
    """The context that grpc's servicer uses to report that it cannot answer."""

    def __init__(self) -> None:
        self.code = grpc.StatusCode.OK

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        """Ignore the text: the page reports the failure by its status."""


def channelz_page(path: str, query: str) -> Page | None:
    """Return the page of a path and its query, both as sent; None if there is no such page, or nothing with that id."""
    if not path.startswith(_PREFIX):
        return None
    from grpc_channelz.v1 import channelz, channelz_pb2  # imported at first use: most processes never need it

    name = path.removeprefix(_PREFIX)
    service: Any = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]
    method = service.methods_by_name.get(name)
    if method is None:
        return None
    request = GetMessageClass(method.input_type)()
    try:
        json_format.ParseDict(dict(parse_qsl(query)), request)
    except json_format.ParseError:
        return None
    context = _Context()
    answer: Any = getattr(channelz.ChannelzServicer(), name)(request, context)
    if answer is None or context.code is not grpc.StatusCode.OK:
        return None
    return Page(content_type=_JSON, body=json_format.MessageToJson(answer).encode())
