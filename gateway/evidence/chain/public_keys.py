"""Store the public keys that the evidence needs, in the transaction that first uses a key. They are never deleted.

Phoenix publishes only its current key. Years later, a stored signature can be verified only with the key stored here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import sqlalchemy as sa

from gateway.core.types import KeyId
from gateway.evidence.chain.tables import public_keys
from gateway.store.pipeline import defer, transaction_time
from gateway.store.schema import insert_into, pad_in_list

PublicKeyOf = Callable[[KeyId], bytes | None]
"""Returns the 32 bytes of a platform key in use, by its id; None if it is unknown."""


class StoredKeys:
    """The keys that this process has stored already, so that a claim writes only new ones."""

    def __init__(self, public_key_of: PublicKeyOf) -> None:
        self._public_key_of = public_key_of
        self._kept: set[KeyId] = set()

    def missing(self, key_ids: Iterable[KeyId]) -> dict[KeyId, bytes]:
        """Return those of these keys that must be stored."""
        found = {key_id: self._public_key_of(key_id) for key_id in set(key_ids) - self._kept}
        return {key_id: key for key_id, key in found.items() if key is not None}

    def committed(self, key_ids: Iterable[KeyId]) -> None:
        """Record that these keys are in the database."""
        self._kept.update(key_ids)


def store_keys(connection: sa.Connection, keys: Mapping[KeyId, bytes]) -> None:
    """Store the keys that are not stored yet."""
    if keys:
        insert = insert_into(connection, public_keys).values(first_used_at_us=transaction_time())
        defer(
            connection,
            insert.on_conflict_do_nothing(index_elements=("key_id",)),
            [{"key_id": key_id, "public_key": key} for key_id, key in sorted(keys.items())],
        )


def keys_of(connection: sa.Connection, key_ids: Iterable[str]) -> dict[str, bytes]:
    """Return the 32 bytes of the stored keys, by id."""
    wanted = pad_in_list(key_ids)
    if not wanted:
        return {}
    rows = connection.execute(
        sa.select(public_keys.c.key_id, public_keys.c.public_key).where(public_keys.c.key_id.in_(wanted))
    )
    return {row.key_id: bytes(row.public_key) for row in rows}
