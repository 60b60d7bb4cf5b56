"""A cache in memory that is bounded by bytes, the longest unused going first.

Entries belong to groups, and no group may hold more than its share, so that a big one cannot push out all others. How
old an entry may be is for whoever asks.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

G = TypeVar("G", bound=Hashable)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_OVERHEAD = 600
"""Bytes that an entry takes beside its value, about: its key, its places in two orders."""


@dataclass(slots=True)
class _Item(Generic[G, V]):
    group: G
    value: V
    size: int


@dataclass(slots=True)
class _Group(Generic[K]):
    order: OrderedDict[K, None] = field(default_factory=OrderedDict)
    size: int = 0


class ByteCache(Generic[G, K, V]):
    """Values by key, each in one group."""

    def __init__(self, *, max_bytes: int, group_share: float) -> None:
        """Hold at most `max_bytes` in all and `group_share` of them (above 0, at most 1) for one group."""
        if max_bytes < 0 or not 0 < group_share <= 1:
            raise ValueError("max_bytes must not be negative, group_share must be above 0 and at most 1")
        self._max_bytes = max_bytes
        self._max_group_bytes = int(max_bytes * group_share)
        self._items: OrderedDict[K, _Item[G, V]] = OrderedDict()
        self._groups: dict[G, _Group[K]] = {}
        self._size = 0

    def __len__(self) -> int:
        """How many entries it holds."""
        return len(self._items)

    @property
    def size(self) -> int:
        """How many bytes it counts, overhead included."""
        return self._size

    def group_size(self, group: G) -> int:
        """How many bytes one group counts."""
        found = self._groups.get(group)
        return 0 if found is None else found.size

    def get(self, key: K) -> V | None:
        """Return the value and note that it was used; None if there is none."""
        item = self._items.get(key)
        if item is None:
            return None
        self._items.move_to_end(key)
        self._groups[item.group].order.move_to_end(key)
        return item.value

    def put(self, group: G, key: K, value: V, value_bytes: int) -> None:
        """Keep the value in place of an older one; too big for the group's share, it is not kept at all."""
        self.remove(key)
        size = value_bytes + ENTRY_OVERHEAD
        if size > self._max_group_bytes:
            return
        members = self._groups.setdefault(group, _Group())
        self._items[key] = _Item(group, value, size)
        members.order[key] = None
        members.size += size
        self._size += size
        while members.size > self._max_group_bytes:
            self.remove(next(iter(members.order)))
        while self._size > self._max_bytes:
            self.remove(next(iter(self._items)))

    def remove(self, key: K) -> None:
        """Forget the entry, if there is one."""
        item = self._items.pop(key, None)
        if item is None:
            return
        members = self._groups[item.group]
        del members.order[key]
        members.size -= item.size
        self._size -= item.size
        if not members.order:
            del self._groups[item.group]
