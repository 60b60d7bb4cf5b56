"""What a front serves: one endpoint a method, paired with the coroutine or generator of its servicer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.actions.shared.call import Call

Handler = Callable[[Any, Call], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method: its full path such as `/package.Service/Method`, its handler, its request class and shape."""

    path: str
    handler: Handler
    request_class: type[Message]
    client_streaming: bool
    server_streaming: bool

    @property
    def is_unary(self) -> bool:
        """Whether one message is answered by one."""
        return not (self.client_streaming or self.server_streaming)


def endpoints_of(servicer: object, methods: Iterable[MethodDescriptor], prefix: str) -> list[Endpoint]:
    """Pair each described method with the servicer's coroutine or generator of the same name.

    Raises: AttributeError when the servicer lacks one: the start fails rather than answering UNIMPLEMENTED.
    """
    return [
        Endpoint(
            path=f"/{prefix}/{method.name}",
            handler=getattr(servicer, method.name),
            request_class=GetMessageClass(method.input_type),
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
        )
        for method in methods
    ]
