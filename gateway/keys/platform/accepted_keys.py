"""Which platform keys this process accepts: the current one, for a while the replaced ones, and none that is revoked.

platform_keys.py gets the keys; state.py has the rules; revocations.py is what this machine remembers.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.ed25519 import KeyRefused, VerifyingKey
from gateway.core.types import Environment, KeyId
from gateway.errors import StoreUnavailable
from gateway.keys.descriptions import KeyDescription
from gateway.keys.platform.revocations import RevokedKeys
from gateway.keys.platform.settings import PlatformKeySettings
from gateway.keys.platform.state import PlatformKey, PlatformKeyState, RetiredKey
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log, where_raised


class AcceptedKeys:
    """The accepted keys of one prediction host and environment. `state` is replaced as a whole."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: PlatformKeySettings,
        revoked: RevokedKeys | None,
        is_static: bool,
        on_event: Callable[[str], None],
    ) -> None:
        """Args: `revoked`: the revoked keys that this machine remembers. `is_static`: the key is configured."""
        self._clock = clock
        self._settings = settings
        self._revoked = revoked
        self._is_static = is_static
        self._on_event = on_event
        self.state = PlatformKeyState()

    def retired(self) -> tuple[RetiredKey, ...]:
        """Return the keys replaced within the overlap, newest first."""
        return self.state.retired_within(self._settings.overlap_s, now=self._clock.now())

    def describe(self, environment: Environment) -> list[KeyDescription]:
        """Describe the current key and the retired ones."""
        return self.state.describe(environment, self._settings.overlap_s, now=self._clock.now())

    def check(self, key: VerifyingKey) -> None:
        """Raises: KeyRefused for a key that is not pinned or is revoked."""
        self.take_revoked()
        if self._settings.pins and key.key_id not in self._settings.pins:
            raise KeyRefused("The platform key is refused: it is not one of the pinned keys.")
        if key.key_id in self.state.revoked:
            raise KeyRefused("The platform key is refused: it was revoked.")

    def install(self, key: VerifyingKey, *, fetched_at: float) -> tuple[PlatformKey, bool]:
        """Make a checked key the current one. Return it, and whether it replaced another one."""
        before = self.state.current
        self.state = self.state.install(key, fetched_at=fetched_at, now=self._clock.now())
        current = self.state.current
        assert current is not None
        replaced = before is not None and before.key != key
        if replaced:
            self._on_event("platform_key_rotated")
        return current, replaced

    def remember(self, retired: tuple[RetiredKey, ...]) -> None:
        """Add keys that others know as replaced."""
        self.state = self.state.remember(retired, now=self._clock.now())

    def take_revoked(self, others: frozenset[KeyId] = frozenset()) -> None:
        """Add keys that others revoked. If the current key is one of them, drop it; it will be fetched again."""
        known = others if self._revoked is None else others | self._revoked.known()
        if self._is_static and (current := self.state.current) is not None:
            known -= {current.key.key_id}  # a configured key cannot be revoked
        for key_id in known - self.state.revoked:
            self.state = self.state.revoke(key_id)

    def revoke(self, key_id: KeyId) -> frozenset[KeyId]:
        """Never accept this key again in this process. Return all revoked keys."""
        self.state = self.state.revoke(key_id)
        return self.state.revoked

    def keep_revoked(self, key_id: KeyId, *, is_published: bool) -> None:
        """Keep the revoked keys on this machine. Args: `is_published`: the other processes know them from Redis.

        Raises: StoreUnavailable if the key is revoked in this process only, because no other one could be informed.
        """
        if self._revoked is None:
            return
        try:
            self._revoked.add(self.state.revoked)
        except OSError as error:
            if not is_published:
                raise StoreUnavailable(
                    "The key is revoked in this process only: neither the shared cache nor the data directory "
                    "could be written. Repair one of them and revoke the key again."
                ) from None
            log().warning(
                "revocation not kept on this machine",
                key_id=key_id,
                trouble="it lasts only as long as Redis keeps it",
                advice="set GATEWAY_DATA_DIR to a volume that the gateway can write to, and revoke the key again",
                **where_raised(error),
            )
