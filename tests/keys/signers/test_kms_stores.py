"""Keys of AWS KMS and Google Cloud KMS, by the real client libraries, before emulators of the published APIs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.secret_reference import SIGNER_SCHEMES, ReferenceRefused, parse_reference
from gateway.keys.signers.open_store import open_key_store
from gateway.keys.signers.store import KeyStore
from gateway.keys.signers.transit import VaultRequests
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from tests.kms_emulators import AwsKms, GcpKms, KmsEmulator


def no_vault() -> VaultRequests:
    raise AssertionError("no reference names Vault")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsKms]:
    """With one alias and the variables that botocore reads."""
    with AwsKms() as emulator:
        emulator.create_key("alias/launch", time.time() - 7200)
        emulator.create_key("alias/aws/s3")
        emulator.create_key("alias/launcher")
        for name, value in aws_environ(emulator).items():
            monkeypatch.setenv(name, value)
        yield emulator


@pytest.fixture
def gcp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GcpKms]:
    """With one version and the file of a service account."""
    with GcpKms() as emulator:
        emulator.create_version(time.time() - 7200)
        file = tmp_path / "account.json"
        file.write_text(json.dumps(emulator.service_account()))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        yield emulator


def aws_environ(emulator: AwsKms) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "AKIAPLANTED",
        "AWS_SECRET_ACCESS_KEY": "planted-aws-secret",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL_KMS": emulator.url,
    }


def opened(reference: str, emulator: KmsEmulator) -> KeyStore:
    return open_key_store(parse_reference(reference, SIGNER_SCHEMES), no_vault, google_kms=emulator.url)


def aws_store(emulator: AwsKms, key: str = "alias/launch") -> KeyStore:
    return opened(f"aws-kms:{key}", emulator)


def gcp_store(emulator: GcpKms) -> KeyStore:
    return opened(f"gcp-kms:{emulator.key_name}", emulator)


def cause_of(store: KeyStore, version: str) -> StoreCause:
    with pytest.raises(StoreFailed) as failed:
        store.sign(version, [b"message"])
    assert "planted" not in str(failed.value)
    assert "arn:aws:iam" not in str(failed.value)
    return failed.value.cause


def test_a_key_of_aws_signs_the_raw_message(aws: AwsKms) -> None:
    """One request per message, verified by the public half that KMS shows."""
    store = aws_store(aws)
    (one,) = store.versions()
    assert all(one.public.verify(message, store.sign(one.name, [message])[0]) for message in (b"", b"x" * 900))
    assert 2 == aws.requests.count("Sign")


def test_a_key_of_aws_may_be_named_by_its_id(aws: AwsKms) -> None:
    """Then it has one version for ever, and ListAliases is not needed."""
    aws.rights.remove("kms:ListAliases")
    key_id = aws.aliases["alias/launch"][0]
    assert [key_id] == [one.name for one in aws_store(aws, key_id).versions()]


def test_aliases_below_the_reference_are_versions(aws: AwsKms) -> None:
    """In the order of the times in their names, over several pages of the list; other aliases are not."""
    first = aws.aliases["alias/launch"][0]
    later = aws.create_key("alias/launch/2030-01-01T00-00Z")
    sooner = aws.create_key("alias/launch/2029-01-01T00-00Z")
    aws.create_key("alias/launch/other")
    found = sorted(aws_store(aws).versions(), key=lambda one: one.order)
    assert [first, sooner, later] == [one.name for one in found]
    assert [None, 1861920000.0, 1893456000.0] == [one.named_at for one in found]
    assert aws.requests.count("ListAliases") > 1


def test_versions_of_google_are_those_that_are_enabled(gcp: GcpKms) -> None:
    """Over several pages, with the time that Google gives; the public half is read once."""
    for _ in range(3):
        gcp.create_version()
    gcp.disabled.add("2")
    store = gcp_store(gcp)
    assert ["1", "3", "4"] == [one.name for one in store.versions()]
    assert abs(gcp.created["3"] - (store.versions()[1].created_at or 0)) < 0.001
    assert 3 == gcp.requests.count("GET /cryptoKeyVersions/N/publicKey")
    assert 1 == gcp.tokens


def test_a_key_of_google_signs(gcp: GcpKms) -> None:
    """With the version that is asked for."""
    gcp.create_version()
    store = gcp_store(gcp)
    first, second = store.versions()
    (signature,) = store.sign("1", [b"message"])
    assert first.public.verify(b"message", signature)
    assert not second.public.verify(b"message", signature)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [("denied", StoreCause.FORBIDDEN), ("not_json", StoreCause.UNREACHABLE), ("slow", StoreCause.TIMEOUT)],
)
def test_faults_of_aws(aws: AwsKms, fault: str, cause: StoreCause, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its cause, and its text holds nothing of the request or the answer."""
    monkeypatch.setattr("gateway.keys.signers.open_store.SIGN_WITHIN_S", 1.0 if fault == "slow" else 5.0)
    store = aws_store(aws)
    (one,) = store.versions()
    aws.fault = fault
    assert cause is cause_of(store, one.name)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [("denied", StoreCause.FORBIDDEN), ("not_json", StoreCause.UNUSABLE_ANSWER), ("slow", StoreCause.TIMEOUT)],
)
def test_faults_of_google(gcp: GcpKms, fault: str, cause: StoreCause, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same."""
    monkeypatch.setattr("gateway.keys.signers.open_store.SIGN_WITHIN_S", 1.0 if fault == "slow" else 5.0)
    store = gcp_store(gcp)
    (one,) = store.versions()
    gcp.fault = fault
    assert cause is cause_of(store, one.name)


def test_stores_that_are_gone(aws: AwsKms, gcp: GcpKms) -> None:
    """Nobody listens."""
    stores: list[KeyStore] = [aws_store(aws), gcp_store(gcp)]
    names = [store.versions()[0].name for store in stores]
    aws.stop()
    gcp.stop()
    for store, name in zip(stores, names, strict=True):
        assert cause_of(store, name) in (StoreCause.UNREACHABLE, StoreCause.TIMEOUT)


def test_a_key_of_another_kind_is_refused(aws: AwsKms, gcp: GcpKms) -> None:
    """The message names the kind to create."""
    aws.other_spec, gcp.other_algorithm = "ECC_NIST_P256", "EC_SIGN_P256_SHA256"
    with pytest.raises(StoreFailed, match="ECC_NIST_EDWARDS25519"):
        aws_store(aws).versions()
    with pytest.raises(StoreFailed, match="EC_SIGN_ED25519"):
        gcp_store(gcp).versions()


def test_missing_keys_are_named(aws: AwsKms, gcp: GcpKms) -> None:
    """An alias that is not there, a key that is not there, a key without an enabled version."""
    with pytest.raises(StoreFailed, match="no alias alias/nothing"):
        aws_store(aws, "alias/nothing").versions()
    with pytest.raises(StoreFailed, match="NotFoundException"):
        aws_store(aws, "1234").versions()
    gcp.disabled.add("1")
    with pytest.raises(StoreFailed, match="no enabled version"):
        gcp_store(gcp).versions()


def test_needless_rights(aws: AwsKms, gcp: GcpKms) -> None:
    """What only the key's owner needs is named; without it nothing is."""
    assert [] == aws_store(aws).needless_rights() == gcp_store(gcp).needless_rights()
    aws.rights |= {"kms:CreateGrant", "kms:GetKeyPolicy"}
    gcp.held = {"cloudkms.cryptoKeyVersions.destroy"}
    assert ["kms:CreateGrant)", "kms:GetKeyPolicy)"] == [
        one.rpartition("(")[2] for one in aws_store(aws).needless_rights()
    ]
    assert ["can destroy versions"] == gcp_store(gcp).needless_rights()


@pytest.mark.parametrize(
    "reference",
    [
        "gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
        "vault-transit:launch",
        "pkcs11:object=x",
    ],
)
def test_references_that_no_store_can_have(reference: str) -> None:
    """Refused before anything is asked."""
    with pytest.raises(ReferenceRefused):
        open_key_store(parse_reference(reference, SIGNER_SCHEMES), no_vault)


def test_aws_without_a_region_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ARN names its region; an alias does not."""
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ReferenceRefused, match="AWS_DEFAULT_REGION"):
        open_key_store(parse_reference("aws-kms:alias/x", SIGNER_SCHEMES), no_vault)
    open_key_store(parse_reference("aws-kms:arn:aws:kms:eu-west-1:1:key/x", SIGNER_SCHEMES), no_vault)
