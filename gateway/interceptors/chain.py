"""The chain: the links that every call passes on its way in and, in reverse, on its way out.

`server/assembly/chain.py` lists the links in their order. A link names its hooks by the classes that it inherits. It
refuses a call by raising a GatewayError and never touches the transport. The front calls the chain at each step of a
call, and turns each error into a status, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence

from google.protobuf.message import Message

from gateway.actions.shared.call import Call
from gateway.core.switches import TargetKind


class Middleware:
    """One link of the chain. It inherits one of the classes below for each hook that it has."""


class ArrivalCheck(Middleware, ABC):
    """A link that checks, counts or completes a call when it arrives."""

    @abstractmethod
    def before(self, call: Call) -> Awaitable[None] | None:
        """Check the call when it arrives; raise a GatewayError to refuse it.

        A hook that may have to wait returns an awaitable (`async def` does). None costs the call nothing.
        """


class EndObserver(Middleware, ABC):
    """A link that handles the end of a call."""

    @abstractmethod
    def after(self, call: Call, error: BaseException | None) -> None:
        """Handle the end of the call, even if an earlier link refused it. Must not raise."""


class RequestCheck(Middleware, ABC):
    """A link that checks request messages."""

    @abstractmethod
    def on_request(self, call: Call, request: Message) -> None:
        """Check one request message before the handler gets it; raise to refuse it."""


class StreamCheck(Middleware, ABC):
    """A link whose decision may change while a stream is open."""

    @abstractmethod
    def on_message(self, call: Call) -> None:
        """Check the call again before each request message and each answer of a stream; raise to end the stream."""


class TargetCheck(Middleware, ABC):
    """A link that decides by tenant or operator, which are known only when an action looks them up."""

    @abstractmethod
    def on_target(self, call: Call, kind: TargetKind, name: str) -> None:
        """Check a tenant, or an operator environment as `code/environment`, that the call names; raise to refuse it.

        The caller may access it. Runs each time that an action looks it up, so also for each item of a batch.
        """


class HandlerGate(Middleware, ABC):
    """A link that may hold the call back right before its handler starts, or before its answer leaves."""

    @abstractmethod
    def on_start(self, call: Call) -> Awaitable[None] | None:
        """Run when every check has passed, before the handler starts; raise to refuse the call."""

    @abstractmethod
    def on_answer(self, call: Call) -> Awaitable[None] | None:
        """Run when the handler of a unary method has answered, before the answer leaves; raise to withhold it."""


Hook = Callable[[Call], Awaitable[None] | None]


class Chain:
    """The links, in order."""

    def __init__(self, links: Sequence[Middleware]) -> None:
        gates = [link for link in links if isinstance(link, HandlerGate)]
        self.before: Hook = _sequence([link.before for link in links if isinstance(link, ArrivalCheck)])
        """Run every `before`, in order.

        Returns: what to wait for; None, as for most calls, if every link has passed the call.
        Raises: the GatewayError of the link that refuses.
        """
        self.on_start: Hook = _sequence([gate.on_start for gate in gates])
        """Run each HandlerGate's `on_start`. Returns and raises as `before`."""
        self.on_answer: Hook = _sequence([gate.on_answer for gate in gates])
        """Run each HandlerGate's `on_answer`. Returns and raises as `before`."""
        self._on_request = tuple(link.on_request for link in links if isinstance(link, RequestCheck))
        self._on_message = tuple(link.on_message for link in links if isinstance(link, StreamCheck))
        self._on_target = tuple(link.on_target for link in links if isinstance(link, TargetCheck))
        self._after = tuple(link.after for link in reversed(links) if isinstance(link, EndObserver))

    def on_request(self, call: Call, request: Message) -> None:
        """Show one request message to each RequestCheck. Raises: the GatewayError of the link that refuses."""
        for hook in self._on_request:
            hook(call, request)

    def on_message(self, call: Call) -> None:
        """Run each StreamCheck. Raises: the GatewayError of the link that ends the stream."""
        for hook in self._on_message:
            hook(call)

    def on_target(self, call: Call, kind: TargetKind, name: str) -> None:
        """Show a tenant or operator environment to each TargetCheck. Raises: the GatewayError of the refusing link."""
        for hook in self._on_target:
            hook(call, kind, name)

    def after(self, call: Call, error: BaseException | None) -> None:
        """Run every `after`, last link first, also for a refused call."""
        for hook in self._after:
            hook(call, error)


def _sequence(hooks: Sequence[Hook]) -> Hook:
    """Return the hooks as one function. A single hook is returned unwrapped, which saves a function call."""
    if len(hooks) == 1:
        return hooks[0]
    if not hooks:
        return _pass

    def run(call: Call) -> Awaitable[None] | None:
        rest = iter(hooks)
        for hook in rest:
            waiting = hook(call)
            if waiting is not None:
                return _continue(waiting, rest, call)
        return None

    return run


def _pass(call: Call) -> None:
    """Do nothing, for a chain without such a hook."""


async def _continue(waiting: Awaitable[None], rest: Iterator[Hook], call: Call) -> None:
    await waiting
    for hook in rest:
        further = hook(call)
        if further is not None:
            await further
