"""Secrets that a command prints, for stores that the gateway does not know. Only where GATEWAY_ALLOW_EXEC allows it."""

from __future__ import annotations

import shlex
import subprocess

from gateway.core.secret import Secret
from gateway.core.secret_reference import SecretReference
from gateway.core.secret_text import secret_meant
from gateway.keys.sources.secret_files import MAX_SECRET_FILE_BYTES
from gateway.keys.sources.secret_store import StoredVersion
from gateway.keys.sources.store_failure import StoreCause, StoreFailed

_WITHIN_S = 8.0


class CommandSecrets:
    """Reads `exec:PROGRAM ARGUMENTS`, without a shell."""

    def __init__(self, *, allowed: bool) -> None:
        """Raises: StoreFailed if commands are not allowed."""
        if not allowed:
            raise StoreFailed(
                StoreCause.FORBIDDEN, "runs a command; allow it with GATEWAY_ALLOW_EXEC=true, or use a store"
            )

    def read(self, reference: SecretReference, *, with_earlier: bool) -> list[StoredVersion]:
        """Return what the command prints. Raises: StoreFailed, SecretRefused."""
        try:
            words = shlex.split(reference.path)
            done = subprocess.run(  # noqa: S603 - the operator's own command
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_WITHIN_S,
                check=False,
            )
        except ValueError:
            raise StoreFailed(
                StoreCause.WRONG_FIELD, "has a quote without its other half; correct the command"
            ) from None
        except OSError as error:
            raise StoreFailed(
                StoreCause.NO_SUCH_PATH, f"cannot be run ({error.strerror}); check the program's path"
            ) from None
        except subprocess.TimeoutExpired:
            raise StoreFailed(StoreCause.TIMEOUT, f"the command does not end within {_WITHIN_S:g} s") from None
        if done.returncode != 0:
            raise StoreFailed(
                StoreCause.UNUSABLE_ANSWER, f"the command ends with code {done.returncode}; run it by hand"
            )
        if len(done.stdout) > MAX_SECRET_FILE_BYTES:
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, f"the command prints more than {MAX_SECRET_FILE_BYTES} bytes")
        return [StoredVersion(secret=Secret(secret_meant(done.stdout)))]

    def needless_rights(self, reference: SecretReference) -> list[str]:
        """Return nothing: the gateway cannot know what a command may do."""
        return []
