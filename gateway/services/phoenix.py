"""PhoenixService: a request of the caller's own making to Phoenix and back."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct, Value

from gateway.actions.admin.call_phoenix import CallAuth, CallPhoenix, CallSurface, PathRequest
from gateway.actions.shared.call import Call
from gateway.core.answer_size import MAX_ANSWER_BYTES
from gateway.core.json_text import DoubtfulJson, NotJsonObject, read_object
from gateway.core.operator_api import exact_plain
from gateway.errors import AnswerTooLarge, Effect
from gateway.services.convert import environment_from_proto
from gateway.services.structs import dict_to_struct, struct_to_json
from gateway.v1 import phoenix_pb2

_SURFACES = {
    phoenix_pb2.PHOENIX_SURFACE_INGESTION: CallSurface.INGESTION,
    phoenix_pb2.PHOENIX_SURFACE_QUERY: CallSurface.QUERY,
    phoenix_pb2.PHOENIX_SURFACE_ADMIN: CallSurface.ADMIN,
    phoenix_pb2.PHOENIX_SURFACE_OPERATOR: CallSurface.OPERATOR,
}
_AUTHS = {
    phoenix_pb2.PHOENIX_AUTH_UNSPECIFIED: CallAuth.DEFAULT,
    phoenix_pb2.PHOENIX_AUTH_API_KEY: CallAuth.API_KEY,
    phoenix_pb2.PHOENIX_AUTH_TENANT_HMAC: CallAuth.TENANT_HMAC,
    phoenix_pb2.PHOENIX_AUTH_TENANT_JWT: CallAuth.TENANT_JWT,
    phoenix_pb2.PHOENIX_AUTH_ADMIN_JWT: CallAuth.ADMIN_JWT,
}
_PRINTABLE = frozenset(map(chr, range(0x20, 0x7F)))


class PhoenixService:
    """Serves phoenix.gateway.v1.PhoenixService."""

    def __init__(self, phoenix: CallPhoenix) -> None:
        self._phoenix = phoenix

    async def Call(self, request: phoenix_pb2.CallRequest, call: Call) -> phoenix_pb2.CallResponse:
        """Send the request if its path is open."""
        wanted = PathRequest(
            surface=_SURFACES[request.surface],
            method=request.method,
            path=request.path,
            auth=_AUTHS[request.auth],
            tenant_id=request.tenant_id,
            operator_code=request.operator_code,
            environment=environment_from_proto(request.environment),
            query=tuple(sorted(request.query.items())),
            body=struct_to_json(request.body, "body") if request.HasField("body") else None,
            idempotency_key=request.idempotency_key,
        )
        answer = await self._phoenix.send(wanted, call)
        body = _json_value(answer.body)
        response = phoenix_pb2.CallResponse(
            status=answer.status,
            body=body,
            headers={name: value for name, value in answer.headers.items() if _PRINTABLE.issuperset(value)},
            raw_body=answer.body if body is None else b"",
        )
        if response.ByteSize() > MAX_ANSWER_BYTES:
            raise AnswerTooLarge(effect=Effect.NONE if wanted.method == "GET" else Effect.DONE)
        return response


def _json_value(body: bytes) -> Value | None:
    """Return the JSON value; None where the bytes are none, or one that two readers could take differently."""
    if not body:
        return None
    try:
        # Any value is read as the member of an object, since objects are what the strict reader reads.
        members = read_object(b'{"body":' + body + b"}")
    except (NotJsonObject, DoubtfulJson):
        return None
    if list(members) != ["body"]:
        return None
    struct: Struct = dict_to_struct({"body": exact_plain(members["body"])})
    return struct.fields["body"]
