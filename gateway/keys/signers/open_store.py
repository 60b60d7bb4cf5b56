"""Makes the store that a reference names: `vault-transit:`, `aws-kms:`, `gcp-kms:` or `pkcs11:`.

It contacts no store. So a wrong reference is reported with the settings, and a store that fails is reported later.
The library of a store is imported only if a reference names that store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from gateway.core.secret_reference import ReferenceRefused, Scheme, SecretReference
from gateway.keys.signers.pkcs11_uri import parse_pkcs11
from gateway.keys.signers.store import SIGN_WITHIN_S, KeyStore
from gateway.keys.signers.transit import TransitStore, VaultRequests
from gateway.keys.sources.secret_files import read_secret_file
from gateway.keys.sources.store_failure import need_extra
from gateway.keys.stores.secret_stores import GCP_KMS_URL


def open_key_store(
    reference: SecretReference, vault: Callable[[], VaultRequests], *, google_kms: str = GCP_KMS_URL
) -> KeyStore:
    """Return the store, not connected yet.

    Args: `vault`: returns the client of Vault, which is configured if a reference names it. `google_kms`: the base URL.
    Raises: ReferenceRefused for a path that the store cannot have; StoreFailed if its extra is not installed.
    """
    text, path = str(reference), reference.path
    match reference.scheme:
        case Scheme.VAULT_TRANSIT:
            mount, _, name = path.rpartition("/")
            if not mount or not name:
                raise ReferenceRefused("names no key", "write it as vault-transit:transit/phoenix-launch")
            return TransitStore(text, mount, name, vault())
        case Scheme.AWS_KMS:
            return _aws(text, path)
        case Scheme.GCP_KMS:
            return _google(text, path, google_kms)
        case Scheme.PKCS11:
            try:
                uri = parse_pkcs11(text)
            except ValueError as problem:
                what, _, remedy = str(problem).partition("; ")
                raise ReferenceRefused(what, remedy) from None
            need_extra("pkcs11", "pkcs11")
            from gateway.keys.signers.pkcs11 import Pkcs11Store

            return Pkcs11Store(uri, lambda file: read_secret_file(file)[0].reveal_text())
        case _:
            raise AssertionError("the settings take only references of signers here")


def _aws(text: str, key: str) -> KeyStore:
    need_extra("aws", "botocore")
    import botocore.config
    import botocore.exceptions
    import botocore.session

    from gateway.keys.signers.aws_kms import AwsKmsStore

    settings = botocore.config.Config(
        connect_timeout=1.0,
        read_timeout=SIGN_WITHIN_S,
        max_pool_connections=AwsKmsStore.at_once + 1,
        retries={"mode": "standard", "total_max_attempts": 2},
        parameter_validation=False,  # the gateway's own calls have one form
    )
    region = key.split(":")[3] if key.startswith("arn:") and key.count(":") >= 5 else None
    try:
        client: Any = botocore.session.get_session().create_client("kms", region_name=region, config=settings)
    except botocore.exceptions.NoRegionError:
        raise ReferenceRefused("names no region", "set AWS_DEFAULT_REGION, or write the key's ARN") from None
    return AwsKmsStore(text, key, client)


def _google(text: str, key: str, base_url: str) -> KeyStore:
    from gateway.keys.signers.gcp_kms import NAME, GcpKmsStore
    from gateway.keys.stores.google_api import GoogleApi

    if not NAME.fullmatch(key):
        raise ReferenceRefused(
            "is not the resource name of a key (without its versions)",
            "write it as gcp-kms:projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
        )
    assert urlsplit(base_url).hostname
    return GcpKmsStore(text, key, GoogleApi(base_url, timeout_s=SIGN_WITHIN_S, connections=GcpKmsStore.at_once))
