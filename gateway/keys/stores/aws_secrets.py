"""Secrets in AWS Secrets Manager, by botocore: region, credentials and endpoint as every AWS tool finds them.

The version in force is the one with the stage AWSCURRENT; AWSPREVIOUS is the one before it. AWSPENDING is left alone:
a rotation function may not have finished it.
"""

from __future__ import annotations

from typing import Any

from gateway.core.secret_reference import SecretReference
from gateway.keys.sources.secret_store import StoredVersion
from gateway.keys.sources.store_failure import StoreCause, StoreFailed, need_extra
from gateway.keys.stores.aws_errors import shown
from gateway.keys.stores.json_field import secret_of

_TIMEOUT_S = 4.0
_FORBIDDEN = {
    "AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
    "ExpiredTokenException", "DecryptionFailure",
}  # fmt: skip


class AwsSecrets:
    """Reads `aws-sm:NAME`, `aws-sm:NAME#FIELD`; an ARN in place of the name names its region too."""

    def __init__(self) -> None:
        """Raises: StoreFailed if botocore is not installed."""
        need_extra("aws", "botocore")
        from botocore.session import Session

        self._session = Session()
        self._clients: dict[str, Any] = {}

    def read(self, reference: SecretReference, *, with_earlier: bool) -> list[StoredVersion]:
        """Return the version in force, as the last one. Raises: StoreFailed, SecretRefused."""
        found = [self._version(reference, "AWSCURRENT")]
        if with_earlier:
            try:
                found.insert(0, self._version(reference, "AWSPREVIOUS"))
            except StoreFailed as failure:
                if failure.cause is not StoreCause.NO_SUCH_PATH:
                    raise
        return found if found[0].name != found[-1].name else found[-1:]

    def needless_rights(self, reference: SecretReference) -> list[str]:
        """Return whether the credentials may list all secrets. Whether they may write, only a write would show."""
        try:
            self._call(reference.path, "list_secrets", MaxResults=1)
        except StoreFailed as failure:
            if failure.cause is StoreCause.FORBIDDEN:
                return []
            raise
        return ["secretsmanager:ListSecrets"]

    def _version(self, reference: SecretReference, stage: str) -> StoredVersion:
        answer = self._call(reference.path, "get_secret_value", SecretId=reference.path, VersionStage=stage)
        text, binary = answer.get("SecretString"), answer.get("SecretBinary")
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else binary
        if not isinstance(content, bytes):
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, f"{reference.path} holds no value; write one")
        created = answer.get("CreatedDate")
        return StoredVersion(
            secret=secret_of(content, reference),
            name=str(answer.get("VersionId") or ""),
            created_at=None if created is None else created.timestamp(),
        )

    def _call(self, path: str, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore import exceptions

        try:
            answer: dict[str, Any] = getattr(self._client(path), operation)(**arguments)
            return answer
        except exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code == "ResourceNotFoundException":
                raise StoreFailed(
                    StoreCause.NO_SUCH_PATH, f"there is no {path}, or no value in it; check name and region"
                ) from None
            if code in _FORBIDDEN or "AccessDenied" in code:
                raise StoreFailed(
                    StoreCause.FORBIDDEN, f"may not read {path} ({shown(code)}); allow secretsmanager:GetSecretValue"
                ) from None
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, f"{path}: Secrets Manager answers {shown(code)}") from None
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError):
            raise StoreFailed(
                StoreCause.LOGIN, "finds no AWS credentials; give the process a role or AWS_ variables"
            ) from None
        except exceptions.NoRegionError:
            raise StoreFailed(StoreCause.LOGIN, "finds no AWS region; set AWS_REGION") from None
        except exceptions.SSLError:
            raise StoreFailed(
                StoreCause.TLS, "TLS with Secrets Manager fails; check AWS_CA_BUNDLE and any proxy"
            ) from None
        except (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError):
            raise StoreFailed(
                StoreCause.TIMEOUT, "Secrets Manager does not answer in time; check the network"
            ) from None
        except (exceptions.EndpointConnectionError, exceptions.ConnectionClosedError, exceptions.HTTPClientError):
            raise StoreFailed(
                StoreCause.UNREACHABLE, "Secrets Manager cannot be reached; check endpoint and network"
            ) from None
        except (exceptions.BotoCoreError, ValueError) as error:
            raise StoreFailed(
                StoreCause.UNUSABLE_ANSWER, f"Secrets Manager cannot be used ({type(error).__name__})"
            ) from None

    def _client(self, path: str) -> Any:
        parts = path.split(":")
        region = parts[3] if path.startswith("arn:") and len(parts) > 6 else ""
        if region not in self._clients:
            from botocore.config import Config

            self._clients[region] = self._session.create_client(
                "secretsmanager",
                region_name=region or None,
                config=Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"total_max_attempts": 2}),
            )
        return self._clients[region]
