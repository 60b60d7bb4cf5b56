"""An in-memory LRU cache with a limit in bytes.

Entries belong to groups. A group may not use more than its share, so that a large group cannot evict all others. The
caller decides how old an entry may be.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

G = TypeVar("G", bound=Hashable)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_OVERHEAD = 600
"""Approximate bytes of an entry in addition to its value: its key, and its position in two orders."""


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
    """Values by key. Each value belongs to one group."""

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
        """Return the number of entries."""
        return len(self._items)

    @property
    def size(self) -> int:
        """The total size in bytes, including overhead."""
        return self._size

    def group_size(self, group: G) -> int:
        """Return the size of one group in bytes."""
        found = self._groups.get(group)
        return 0 if found is None else found.size

    def get(self, key: K) -> V | None:
        """Return the value and mark it as used; None if there is none."""
        item = self._items.get(key)
        if item is None:
            return None
        self._items.move_to_end(key)
        self._groups[item.group].order.move_to_end(key)
        return item.value

    def put(self, group: G, key: K, value: V, value_bytes: int) -> None:
        """Store the value and replace an older one. A value larger than the group's share is not stored."""
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
        """Remove the entry, if there is one."""
        item = self._items.pop(key, None)
        if item is None:
            return
        members = self._groups[item.group]
        del members.order[key]
        members.size -= item.size
        self._size -= item.size
        if not members.order:
            del self._groups[item.group]
