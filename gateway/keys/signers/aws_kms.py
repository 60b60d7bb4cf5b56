"""Keys of AWS KMS (key spec ECC_NIST_EDWARDS25519, algorithm ED25519_SHA_512 over the raw message).

KMS does not rotate such keys: each version is a key of its own. The reference names one key, by id or ARN; or an alias,
`alias/launch`. Then every alias below it whose last part is an activation time is a version too:
`alias/launch/2026-11-21T10-00Z`. The time is the operator's word, and the alias's creation is when it was announced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import botocore.exceptions

from gateway.core.ed25519 import KeyRefused, VerifyingKey, verifying_key_of_der
from gateway.keys.signers.store import StoredKey
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.sources.version_files import time_in_name
from gateway.keys.stores.aws_errors import shown

ALGORITHM = "ED25519_SHA_512"
_SPEC = "ECC_NIST_EDWARDS25519"
_MOST_PAGES = 100


class AwsKmsStore:
    """One key, or all keys of an alias. A KeyStore. `client`: botocore's client of `kms`, which threads may share."""

    most_in_one_request = 1
    at_once = 16
    """KMS answers in some ten milliseconds, and has no request for several messages."""

    def __init__(self, reference: str, key: str, client: Any) -> None:
        """`key`: an id, an ARN, or `alias/...`."""
        self.reference = reference
        self._key = key
        self._client = client
        self._public: dict[str, VerifyingKey] = {}

    def versions(self) -> list[StoredKey]:
        """List the aliases and read the public half of each key. Raises: StoreFailed."""
        try:
            if not self._key.startswith("alias/"):
                return [StoredKey(name=self._key, public=self._public_of(self._key), order=0.0)]
            found = [
                StoredKey(
                    name=target,
                    public=self._public_of(target),
                    order=created_at if named_at is None else named_at,
                    created_at=created_at,
                    named_at=named_at,
                )
                for target, created_at, named_at in self._aliases()
            ]
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            raise _failure(error) from None
        if not found:
            raise StoreFailed(
                StoreCause.NO_SUCH_PATH, f"there is no alias {self._key}, nor one below it that is a time"
            )
        return found

    def sign(self, version: str, messages: Sequence[bytes]) -> list[bytes]:
        """Sign one after another. Raises: StoreFailed."""
        try:
            sign = partial(self._client.sign, KeyId=version, MessageType="RAW", SigningAlgorithm=ALGORITHM)
            return [sign(Message=one)["Signature"] for one in messages]
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, KeyError) as error:
            raise _failure(error) from None

    def needless_rights(self) -> list[str]:
        """Try, without effect, what only the key's owner needs. Raises: StoreFailed."""
        target = self.versions()[0].name
        wrong = []
        if self._may("create_grant", KeyId=target, GranteePrincipal=self._caller(), Operations=["Sign"], DryRun=True):
            wrong.append("can give others the right to sign (kms:CreateGrant)")
        if self._may("get_key_policy", KeyId=target, PolicyName="default"):
            wrong.append("can read the key's policy (kms:GetKeyPolicy)")
        return wrong

    def _caller(self) -> str:
        return self._client.describe_key(KeyId=self.versions()[0].name)["KeyMetadata"]["AWSAccountId"]  # type: ignore[no-any-return]

    def _may(self, operation: str, **arguments: Any) -> bool:
        try:
            getattr(self._client, operation)(**arguments)
        except botocore.exceptions.ClientError as error:
            return _code(error) == "DryRunOperationException"
        except botocore.exceptions.BotoCoreError as error:
            raise _failure(error) from None
        return True

    def _aliases(self) -> Iterator[tuple[str, float, float | None]]:
        """Yield target, time of the last change and named activation time of every alias that is a version."""
        arguments: dict[str, Any] = {"Limit": 100}
        for _ in range(_MOST_PAGES):
            page = self._client.list_aliases(**arguments)
            for alias in page["Aliases"]:
                name, target = alias["AliasName"], alias.get("TargetKeyId")
                named_at = time_in_name(name.removeprefix(f"{self._key}/"))
                if target and (name == self._key or (named_at is not None and name.startswith(f"{self._key}/"))):
                    yield target, alias["LastUpdatedDate"].timestamp(), named_at if name != self._key else None
            if not page.get("Truncated"):
                return
            arguments["Marker"] = page["NextMarker"]

    def _public_of(self, key: str) -> VerifyingKey:
        """Return the public half; a key's never changes. Raises: StoreFailed."""
        known = self._public.get(key)
        if known is not None:
            return known
        answer = self._client.get_public_key(KeyId=key)
        if answer.get("KeySpec") != _SPEC or ALGORITHM not in answer.get("SigningAlgorithms", ()):
            raise StoreFailed(
                StoreCause.WRONG_FIELD, f"its key cannot sign with Ed25519; create it with the key spec {_SPEC}"
            )
        try:
            public = self._public[key] = verifying_key_of_der(bytes(answer["PublicKey"]))
        except KeyRefused as refusal:
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, str(refusal)) from None
        return public


def _code(error: Exception) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _failure(error: Exception) -> StoreFailed:
    """Return the cause of a refusal by its code, or the kind of the failure: the whole text may hold what was sent."""
    code = _code(error)
    if code in ("AccessDeniedException", "AccessDenied"):
        return StoreFailed(StoreCause.FORBIDDEN, "AWS refuses it (AccessDeniedException); see the rights in the guide")
    if code in ("NotFoundException", "DisabledException", "KMSInvalidStateException"):
        return StoreFailed(StoreCause.NO_SUCH_PATH, f"its key is missing or disabled ({code}); check alias and region")
    if code:
        return StoreFailed(StoreCause.UNUSABLE_ANSWER, f"AWS refuses it ({shown(code)}); check key and credentials")
    if isinstance(error, botocore.exceptions.SSLError):
        return StoreFailed(StoreCause.TLS, "TLS with AWS KMS fails; check AWS_CA_BUNDLE")
    if isinstance(error, (botocore.exceptions.ReadTimeoutError, botocore.exceptions.ConnectTimeoutError)):
        return StoreFailed(StoreCause.TIMEOUT, "AWS KMS does not answer in time; check the network")
    if isinstance(error, (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError)):
        return StoreFailed(
            StoreCause.LOGIN, "there are no credentials of AWS; give the process a role or AWS_ variables"
        )
    return StoreFailed(
        StoreCause.UNREACHABLE, f"AWS KMS gives no answer ({type(error).__name__}); check endpoint and network"
    )
