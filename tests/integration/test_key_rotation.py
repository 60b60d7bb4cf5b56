"""A running gateway with its keys in folders, as the commands and the admin port show it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.core.ed25519 import generate_signing_key
from gateway.keys.sources.version_files import name_for
from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    wallet_pb2,
    wallet_pb2_grpc,
)
from tests.gateway_command import gateway_command
from tests.gateway_process import GatewayProcess, fields_of, of_sandbox, reason_of
from tests.integration.test_wallet import reserve
from tests.sandbox_process import SandboxProcess

LEAD_S = 2.0


class Setup:
    """A gateway, its folders, and the commands."""

    def __init__(self, sandbox: SandboxProcess, gateway: GatewayProcess, hmac: Path, launch: Path) -> None:
        self.sandbox, self.gateway, self.hmac, self.launch = sandbox, gateway, hmac, launch
        self.channel = grpc.insecure_channel(gateway.address)
        self.keys = keys_pb2_grpc.KeyServiceStub(self.channel)
        self.tokens = tokens_pb2_grpc.TokenServiceStub(self.channel)
        self.wallet = wallet_pb2_grpc.WalletServiceStub(self.channel)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `phoenix-gateway keys ARGUMENTS`."""
        return gateway_command("keys", *arguments)

    def listed(self) -> list[dict[str, Any]]:
        """What `keys list --json` prints."""
        done = self.command("list", "--json", "--target", self.gateway.address)
        assert 0 == done.returncode, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def wait_for(self, found: Callable[[dict[str, Any]], bool], within_s: float = 30.0) -> dict[str, Any]:
        """Wait until a row of the list fits."""
        until = time.monotonic() + within_s
        while True:
            rows = self.listed()
            fitting = [row for row in rows if found(row)]
            if fitting:
                return fitting[0]
            assert time.monotonic() < until, rows

    def jwks(self) -> dict[str, str]:
        """The published keys' states by id."""
        return published_states(self.gateway.admin_address)

    def minted_with(self) -> str:
        """The id of the key that signs now."""
        request = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
        return str(self.tokens.MintLaunchJWT(request, timeout=10).key_id)


@pytest.fixture
def setup(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[Setup]:
    """A gateway whose HMAC secret and launch key are in folders."""
    hmac, launch = tmp_path / "hmac", tmp_path / "launch"
    settings = of_sandbox(sandbox.urls, sandbox.environ)
    for folder, name in ((hmac, "INGESTION_HMAC_SECRET"), (launch, "PREDICTION_LAUNCH_KEY")):
        folder.mkdir()
        first = folder / "20261001T000000Z"
        first.touch(mode=0o600)
        first.write_text(settings.pop(name))
        settings[f"{name}_FILE"] = str(folder)
    settings |= {"PREDICTION_KEY_LEAD": str(LEAD_S), "PREDICTION_KEY_COOLDOWN": "0.2"}
    with GatewayProcess(settings) as gateway:
        gateway.wait_serving("phoenix.gateway.v1.WalletService")
        made = Setup(sandbox, gateway, hmac, launch)
        yield made
        made.channel.close()


@pytest.mark.timeout(120)
def test_a_launch_key_is_made_published_and_used(setup: Setup) -> None:
    """`keys generate` into the folder; shown before it signs; refused by Phoenix until it is registered there."""
    first = setup.minted_with()
    done = setup.command("generate", "--out", str(setup.launch))
    assert 0 == done.returncode, done.stderr
    pem, second = done.stdout.split("key id: ")[0], done.stdout.split("key id: ")[1].strip()
    (path,) = [one for one in setup.launch.iterdir() if one.suffix == ".pem"]
    assert 0o100600 == path.stat().st_mode

    row = setup.wait_for(lambda row: "Phoenix refuses it" in row.get("note", ""))
    assert (second, "KEY_STATE_ANNOUNCED", path.name) == (row["key_id"], row["state"], row["version"])
    assert {first: "active", second: "announced"} == setup.jwks()
    time.sleep(LEAD_S)  # its time comes, and it still does not sign
    assert first == setup.minted_with()

    operator = {"operator_code": "acme", "environment": "sandbox"}
    setup.sandbox.control("POST", "/credentials/add", {**operator, "public_pem": pem})
    setup.wait_for(lambda row: row["key_id"] == second and row["state"] == "KEY_STATE_ACTIVE")
    assert second == setup.minted_with()
    assert {first: "retiring", second: "active"} == setup.jwks()
    answer = setup.keys.GetPublicKey(keys_pb2.GetPublicKeyRequest())
    assert (second, pem) == (answer.key_id, answer.public_key_pem)
    assert [second, first] == [one.key_id for one in answer.published]
    assert first == setup.keys.GetPublicKey(keys_pb2.GetPublicKeyRequest(key_id=first)).key_id
    with pytest.raises(grpc.RpcError) as caught:
        setup.keys.GetPublicKey(keys_pb2.GetPublicKeyRequest(key_id="0" * 64))
    assert "KEY_UNKNOWN" == reason_of(caught.value)


@pytest.mark.timeout(120)
def test_a_phoenix_that_changes_first_and_at_once_costs_no_call(setup: Setup) -> None:
    """No overlap there, and half a minute before the time that was agreed: the rejected call goes out with the new one.

    And back again, when Phoenix takes the change back.
    """
    board = "switched"
    tenant = {"tenant_id": setup.sandbox.environ["TENANT_ID"]}
    setup.sandbox.control("POST", f"/boards/{tenant['tenant_id']}/{board}", {})
    events = events_pb2_grpc.EventServiceStub(setup.channel)
    request = events_pb2.SubmitEventRequest(event=events_pb2.Event(leaderboard_id=board, user_id="ada", score_delta=1))
    path = setup.hmac / name_for(time.time() + 30, "")
    path.touch(mode=0o600)
    path.write_text("the-new-secret")
    setup.wait_for(lambda row: "Phoenix refuses it" in row.get("note", ""))

    old, new = {"hmac_secret": setup.sandbox.environ["INGESTION_HMAC_SECRET"]}, {"hmac_secret": "the-new-secret"}
    for before, after, version in ((old, new, path.name), (new, old, "20261001T000000Z")):
        with ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(events.SubmitEvent, request, timeout=20) for _ in range(100)]
            setup.sandbox.control("POST", "/credentials/add", {**tenant, **after})
            setup.sandbox.control("POST", "/credentials/remove", {**tenant, **before})
            sent += [pool.submit(events.SubmitEvent, request, timeout=20) for _ in range(100)]
            assert 200 == len([one.result() for one in sent])
        state = {row["version"]: row["state"] for row in setup.listed() if row["kind"] == "KEY_KIND_TENANT_HMAC"}
        assert "KEY_STATE_ACTIVE" == state[version]


@pytest.mark.timeout(120)
def test_workers_change_at_one_time_and_show_the_same_keys(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Two processes on one port: every token verifies, from any process that mints and any that serves the keys."""
    settings = of_sandbox(sandbox.urls, sandbox.environ)
    first = tmp_path / "20261001T000000Z"
    first.touch(mode=0o600)
    first.write_text(settings.pop("PREDICTION_LAUNCH_KEY"))
    settings |= {"PREDICTION_LAUNCH_KEY_FILE": str(tmp_path), "PREDICTION_KEY_LEAD": "3", "GATEWAY_WORKERS": "2"}
    key, pem = generate_signing_key()
    operator = {"operator_code": "acme", "environment": "sandbox"}
    sandbox.control("POST", "/credentials/add", {**operator, "public_pem": key.public.spki_pem.decode()})
    with GatewayProcess(settings) as gateway:
        second = tmp_path / name_for(time.time(), ".pem")
        second.touch(mode=0o600)
        second.write_bytes(pem)
        signed_by, active, until = set[str](), list[set[str]](), time.monotonic() + 30
        while signed_by != {key.key_id} or active != [{key.key_id}] * 8:
            assert time.monotonic() < until, (signed_by, active)
            signed_by = {minted_over_new_connections(gateway.address) for _ in range(8)}
            published = [published_states(gateway.admin_address) for _ in range(8)]  # by any of the workers
            assert all(signed_by <= set(states) for states in published)
            active = [{kid for kid, state in states.items() if state == "active"} for states in published]


def minted_over_new_connections(address: str) -> str:
    """The key that signed a token; each connection may reach another worker."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        request = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
        return str(tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(request, timeout=10).key_id)


def published_states(admin_address: str) -> dict[str, str]:
    """The published keys' states by id."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{admin_address}/keys/acme/sandbox/jwks.json", timeout=5) as answer:
        return {key["kid"]: key["state"] for key in json.loads(answer.read())["keys"]}


@pytest.mark.timeout(120)
def test_a_broken_secret_is_shown_and_the_old_one_stays(setup: Setup) -> None:
    """In the table for people too, and nothing of its content anywhere."""
    path = setup.hmac / "20261101T000000Z"
    path.touch(mode=0o644)
    path.write_text("canary-of-a-readable-file")
    row = setup.wait_for(lambda row: "chmod 600" in row.get("note", ""))
    assert ("KEY_KIND_TENANT_HMAC", "KEY_STATE_ACTIVE", "20261001T000000Z") == (
        row["kind"],
        row["state"],
        row["version"],
    )
    table = setup.command("list", "--target", setup.gateway.address)
    assert "TENANT_HMAC" in table.stdout
    assert "canary" not in table.stdout + table.stderr + setup.gateway.log_text + json.dumps(setup.listed())


@pytest.mark.timeout(120)
def test_a_revoked_platform_key_is_refused_finally(setup: Setup) -> None:
    """KEY_RETIRED becomes a refusal, also after a restart; the key in use is not revoked."""
    late = reserve(setup.sandbox)
    old = setup.wallet.VerifyWallet(late).key_id
    setup.sandbox.control("POST", "/keys/rotate", {})
    setup.wallet.VerifyWallet(reserve(setup.sandbox))
    assert wallet_pb2.WALLET_VERDICT_KEY_RETIRED == setup.wallet.VerifyWallet(late).verdict
    done = setup.command("revoke", old, "--target", setup.gateway.address)
    assert (0, "revoked\n") == (done.returncode, done.stdout)
    refused = setup.wallet.VerifyWallet(late)
    assert (wallet_pb2.WALLET_VERDICT_BAD_SIGNATURE, 401) == (refused.verdict, refused.reply.status)
    current = setup.wallet.VerifyWallet(reserve(setup.sandbox)).key_id
    with pytest.raises(grpc.RpcError) as caught:
        setup.keys.RevokePlatformKey(keys_pb2.RevokePlatformKeyRequest(key_id=current))
    assert ["key_id"] == fields_of(caught.value)
    assert 1 == setup.command("revoke", current, "--target", setup.gateway.address).returncode
    assert (setup.gateway.data_dir / "revoked-platform-keys").read_text() == f"{old}\n"


def test_generate_overwrites_nothing_and_names_a_version(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """`--at` names the file; the same time again is refused; a time that is none is refused."""
    setup = Setup.__new__(Setup)
    first = setup.command("generate", "--out", str(tmp_path), "--at", "2026-11-21T10:00Z")
    assert 0 == first.returncode
    assert ["2026-11-21T10:00:00Z.pem"] == [path.name for path in tmp_path.iterdir()]
    content = (tmp_path / "2026-11-21T10:00:00Z.pem").read_bytes()
    assert 1 == setup.command("generate", "--out", str(tmp_path), "--at", "2026-11-21T10:00Z").returncode
    assert 2 == setup.command("generate", "--out", str(tmp_path), "--at", "tomorrow").returncode
    assert 2 == setup.command("generate", "--out", str(tmp_path / "x.pem"), "--at", "2026-11-21T10:00Z").returncode
    assert {"2026-11-21T10:00:00Z.pem": content} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
