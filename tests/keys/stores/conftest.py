"""One Vault and one OpenBao for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.openbao_process import SERVER_PARAMS, running
from tests.vault_process import VaultProcess


@pytest.fixture(scope="module", params=SERVER_PARAMS)
def vault(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultProcess]:
    """A server with KV v2 at `secret`, KV v1 at `old`, and a policy `reader` for both."""
    with running(request.param, tmp_path_factory.mktemp("vault")) as server:
        server.mount("secret", "kv", version="2")
        server.mount("old", "kv", version="1")
        server.policy("reader", {"secret/data/*": ["read"], "old/*": ["read"]})
        yield server
