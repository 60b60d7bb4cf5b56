"""Links of the chain, tried through a front on a real socket."""

from __future__ import annotations

from tests.front.conftest import serve

__all__ = ["serve"]
