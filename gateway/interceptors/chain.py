"""The order in which every call enters, and leaves backwards. Written once, here.

A middleware refuses by raising a GatewayError and never touches the transport. The front turns the
chain into the four shapes of an RPC and is itself the outermost link: it makes a status of every
error, once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from google.protobuf.message import Message

from gateway.actions.shared.call import Call


class Middleware(Protocol):
    """One link of the chain."""

    def before(self, call: Call) -> Awaitable[None] | None:
        """Look at the call before its handler runs; raise a GatewayError to refuse it.

        A link that may have to wait returns what is to be waited for (`async def` does); None costs a call nothing.
        """
        ...

    def again(self, call: Call) -> None:
        """Look before each message and each answer of a stream: it may outlive what let it in. Raise to end it."""
        ...

    def message(self, call: Call, message: Message) -> None:
        """Look at one request message before the handler sees it; raise to refuse."""
        ...

    def after(self, call: Call, error: BaseException | None) -> None:
        """Note how the call ended. Runs for every link, also when an earlier one refused; must not raise."""
        ...


class Link:
    """A middleware that does nothing; the base of those that need one of the hooks."""

    def before(self, call: Call) -> Awaitable[None] | None:
        """Let the call pass."""
        return None

    def again(self, call: Call) -> None:
        """Let the stream go on."""

    def message(self, call: Call, message: Message) -> None:
        """Let the message pass."""

    def after(self, call: Call, error: BaseException | None) -> None:
        """Note nothing."""


class Chain:
    """The links in order, each hook called only where a link really has it."""

    def __init__(self, links: Sequence[Middleware]) -> None:
        self._befores = tuple(link.before for link in links if _overrides(link, "before"))
        self._agains = tuple(link.again for link in links if _overrides(link, "again"))
        self._messages = tuple(link.message for link in links if _overrides(link, "message"))
        self._afters = tuple(link.after for link in reversed(links) if _overrides(link, "after"))

    def enter(self, call: Call) -> Awaitable[None] | None:
        """Run every `before` in order.

        Returns: what is still to be waited for; None, as for most calls, when every link has passed it.
        Raises: the GatewayError of the link that refuses.
        """
        for place, before in enumerate(self._befores, 1):
            waiting = before(call)
            if waiting is not None:
                return self._go_on(waiting, place, call)
        return None

    def again(self, call: Call) -> None:
        """Run every `again` of a stream. Raises: the GatewayError of the link that ends it."""
        for look in self._agains:
            look(call)

    def message(self, call: Call, message: Message) -> None:
        """Show one request message to every link. Raises: the GatewayError of the one that refuses."""
        for look in self._messages:
            look(call, message)

    def leave(self, call: Call, error: BaseException | None) -> None:
        """Run every `after`, last link first, refused calls included."""
        for after in self._afters:
            after(call, error)

    async def _go_on(self, waiting: Awaitable[None], place: int, call: Call) -> None:
        await waiting
        for before in self._befores[place:]:
            further = before(call)
            if further is not None:
                await further


def _overrides(link: Any, hook: str) -> bool:
    return getattr(type(link), hook, None) is not getattr(Link, hook)
