"""Secrets in AWS Secrets Manager, against moto's server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.session import Session

from gateway.core.secret_reference import parse_reference
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.aws_secrets import AwsSecrets
from tests.moto_process import INSTALL_WITHIN_S, MotoProcess
from tools.go_tools import NotBuilt

pytestmark = pytest.mark.timeout(INSTALL_WITHIN_S + 120)


@pytest.fixture(scope="module")
def server() -> Iterator[MotoProcess]:
    try:
        moto = MotoProcess()
    except NotBuilt as reason:
        pytest.skip(str(reason))
    moto.start()
    yield moto
    moto.stop()


@pytest.fixture
def aws(server: MotoProcess, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of an administrator."""
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    return Session().create_client("secretsmanager")


def read(text: str) -> list[str]:
    return [one.secret.reveal_text() for one in AwsSecrets().read(parse_reference(text), with_earlier=True)]


def cause(text: str) -> StoreCause:
    with pytest.raises(StoreFailed) as failed:
        read(text)
    return failed.value.cause


def test_the_current_version_and_the_one_before_are_read(aws: Any) -> None:
    """A pending one is not: its rotation may be unfinished. A stage that moves back is followed."""
    arn = aws.create_secret(Name="phoenix/admin", SecretString=json.dumps({"api_key": "value-1"}))["ARN"]
    assert read("aws-sm:phoenix/admin#api_key") == ["value-1"]
    old = AwsSecrets().read(parse_reference("aws-sm:phoenix/admin#api_key"), with_earlier=False)[-1]
    new = aws.put_secret_value(SecretId="phoenix/admin", SecretString=json.dumps({"api_key": "value-2"}))
    assert read("aws-sm:phoenix/admin#api_key") == ["value-1", "value-2"]
    assert read(f"aws-sm:{arn}#api_key") == ["value-1", "value-2"]
    aws.put_secret_value(SecretId="phoenix/admin", SecretString='{"api_key": "value-3"}', VersionStages=["AWSPENDING"])
    assert read("aws-sm:phoenix/admin#api_key")[-1] == "value-2"
    assert old.created_at is not None
    aws.update_secret_version_stage(
        SecretId="phoenix/admin",
        VersionStage="AWSCURRENT",
        MoveToVersionId=old.name,
        RemoveFromVersionId=new["VersionId"],
    )
    assert read("aws-sm:phoenix/admin#api_key")[-1] == "value-1"


def test_text_and_bytes_are_read_whole(aws: Any) -> None:
    """Without a field."""
    aws.create_secret(Name="plain", SecretString="just-text")
    aws.create_secret(Name="bytes", SecretBinary=b"just-bytes")
    assert (read("aws-sm:plain"), read("aws-sm:bytes")) == (["just-text"], ["just-bytes"])
    assert cause("aws-sm:plain#field") is StoreCause.WRONG_FIELD


def test_what_cannot_be_read_has_its_cause(
    aws: Any, server: MotoProcess, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    """A name that is missing, no credentials, and nobody at the endpoint."""
    assert cause("aws-sm:nothing") is StoreCause.NO_SUCH_PATH
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_tcp_port}")
    assert cause("aws-sm:nothing") is StoreCause.UNREACHABLE
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    assert cause("aws-sm:nothing") is StoreCause.LOGIN
