"""The order in which every call enters, and leaves backwards. Written once, here.

A middleware refuses by raising a GatewayError and never touches the transport. The front turns the
chain into the four shapes of an RPC and is itself the outermost link: it makes a status of every
error, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from google.protobuf.message import Message

from gateway.actions.call import Call


class Middleware(Protocol):
    """One link of the chain."""

    async def before(self, call: Call) -> None:
        """Look at the call before its handler runs; raise a GatewayError to refuse it."""
        ...

    def message(self, call: Call, message: Message) -> None:
        """Look at one request message before the handler sees it; raise to refuse."""
        ...

    def answer(self, call: Call) -> None:
        """Look before one answer of a stream leaves; raise to end the stream there."""
        ...

    def after(self, call: Call, error: BaseException | None) -> None:
        """Note how the call ended. Runs for every link, also when an earlier one refused; must not raise."""
        ...


class Link:
    """A middleware that does nothing; the base of those that need one of the hooks."""

    async def before(self, call: Call) -> None:
        """Let the call pass."""

    def message(self, call: Call, message: Message) -> None:
        """Let the message pass."""

    def answer(self, call: Call) -> None:
        """Let the answer pass."""

    def after(self, call: Call, error: BaseException | None) -> None:
        """Note nothing."""


class Chain:
    """The links in order, each hook called only where a link really has it."""

    def __init__(self, links: Sequence[Middleware]) -> None:
        self._links = tuple(links)
        self._befores = tuple(link.before for link in links if _overrides(link, "before"))
        self._messages = tuple(link.message for link in links if _overrides(link, "message"))
        self._answers = tuple(link.answer for link in links if _overrides(link, "answer"))
        self._afters = tuple(link.after for link in reversed(links) if _overrides(link, "after"))

    async def enter(self, call: Call) -> None:
        """Run every `before` in order. Raises: the GatewayError of the link that refuses."""
        for before in self._befores:
            await before(call)

    def message(self, call: Call, message: Message) -> None:
        """Show one request message to every link. Raises: the GatewayError of the one that refuses."""
        for look in self._messages:
            look(call, message)

    def answer(self, call: Call) -> None:
        """Run every `answer` before one answer of a stream leaves. Raises: the GatewayError of the one that refuses."""
        for look in self._answers:
            look(call)

    def leave(self, call: Call, error: BaseException | None) -> None:
        """Run every `after`, last link first, refused calls included."""
        for after in self._afters:
            after(call, error)


def _overrides(link: Any, hook: str) -> bool:
    return getattr(type(link), hook, None) is not getattr(Link, hook)
