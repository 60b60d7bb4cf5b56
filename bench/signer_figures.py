"""Launch tokens whose key stays in a store: rate, 99th percentile, and the requests of a batch of 100.

The transit engine is that of a real OpenBao, or of a Vault built with Go where OpenBao has no program. SoftHSM is of
the operating system. Where one is missing, its figures are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.figures import Figure, Measure
from bench.servers import Setup
from gateway.core.launch_token import join_token, unsigned_token
from gateway.core.secret import Secret
from gateway.core.secret_reference import SIGNER_SCHEMES, parse_reference
from gateway.keys.signers.open_store import open_key_store
from gateway.keys.signers.signing_queue import RemoteKey, SigningQueue
from gateway.keys.signers.store import KeyStore, StoredKey
from gateway.keys.signers.transit import VaultRequests
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from gateway.resilience.clock import SystemClock
from tests.openbao_process import OpenBaoProcess
from tests.softhsm import PIN, SoftHsm
from tests.vault_process import VaultProcess
from tools.go_tools import NotBuilt

CALLERS = 32
BATCH = 100
WITHIN_S = 10.0
_CLAIMS = {"iss": "acme", "aud": "pmm_default", "env": "sandbox", "iat": 1_700_000_000, "exp": 1_700_000_900}


class _Counted:
    """A KeyStore that counts the requests."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self.reference = store.reference
        self.most_in_one_request = store.most_in_one_request
        self.at_once = store.at_once
        self.requests = 0

    def versions(self) -> list[StoredKey]:
        """As the store."""
        return self._store.versions()

    def sign(self, version: str, messages: Sequence[bytes]) -> list[bytes]:
        """As the store."""
        self.requests += 1
        return self._store.sign(version, messages)

    def needless_rights(self) -> list[str]:
        """As the store."""
        return []


def signed_tokens(setup: Setup, seconds: float) -> list[Figure]:
    """Tokens of 32 callers signed by transit and by SoftHSM, verified, without a limit: the machine decides."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        if (vault := _server(Path(folder))) is not None:
            vault.start()
            vault.mount("transit", "transit")
            vault("POST", "transit/keys/launch", {"type": "ed25519"})
            source = SecretSource(setting="VAULT_TOKEN", value=Secret.from_text(vault.root_token))
            client = VaultClient(VaultSettings(address=vault.address, login=VaultLogin.TOKEN, token=source))
            figures += _measured("transit", "vault-transit:transit/launch", lambda: client, seconds)
            vault.close()
    with tempfile.TemporaryDirectory() as folder:
        try:
            token = SoftHsm(Path(folder)).token("bench")
        except pytest.skip.Exception:
            return figures
        token.make_key("launch")
        pin_file = Path(folder) / "pin"
        pin_file.touch(mode=0o600)
        pin_file.write_text(PIN)
        os.environ.update(token.hsm.environ)
        figures += _measured("pkcs11", token.reference(pin_file, "launch"), _no_vault, seconds)
    return figures


def _server(folder: Path) -> VaultProcess | None:
    """Return a server that is not started; None if this machine has none."""
    for kind in (OpenBaoProcess, VaultProcess):
        with contextlib.suppress(NotBuilt):
            return kind(folder)
    return None


def _no_vault() -> VaultRequests:
    raise AssertionError("only one reference names Vault")


def _measured(name: str, reference: str, vault: object, seconds: float) -> list[Figure]:
    store = _Counted(open_key_store(parse_reference(reference, SIGNER_SCHEMES), vault))  # type: ignore[arg-type]
    rate, p99_ms, requests, batch_ms = asyncio.run(_load(store, seconds))
    details = {"p99_ms": round(p99_ms, 2), "batch_of_100_ms": round(batch_ms, 1)}
    about = f"launch tokens a second of {CALLERS} callers, signed by {name} and verified; p99 {p99_ms:.1f} ms"
    return [
        Figure(name=f"signed_tokens_{name}", value=rate, unit="tokens/s", about=about, details=details),
        Figure(
            name=f"signed_batch_{name}",
            value=float(requests),
            unit="requests",
            about=f"requests to {name} that a batch of {BATCH} tokens costs",
            aim=1.0 if store.most_in_one_request > 1 else float(BATCH),
        ),
    ]


async def _load(store: _Counted, seconds: float) -> tuple[float, float, int, float]:
    queue = SigningQueue(store, SystemClock())
    key = RemoteKey(store.versions()[0], queue)
    unsigned = unsigned_token(_CLAIMS)
    join_token(unsigned, await key.sign_one(unsigned))
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def call() -> None:
        while (began := time.perf_counter()) < until:
            join_token(unsigned, await key.sign_one(unsigned, WITHIN_S))
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(CALLERS)))
    rate = len(times) / (time.perf_counter() - began)
    before, began = store.requests, time.perf_counter()
    assert all(isinstance(one, bytes) for one in await key.sign([unsigned] * BATCH, WITHIN_S))
    batch_ms = (time.perf_counter() - began) * 1000
    await queue.stop()
    return rate, sorted(times)[int(len(times) * 0.99)] * 1000, store.requests - before, batch_ms


FIGURES: dict[str, Measure] = {"signed_tokens": signed_tokens}
