"""Our own keys: their source and shape, and whether Phoenix has the public half of an operator's key.

Loading the configuration has already read every file, checked its permissions, and proved each key pair by signing.
Source: prediction.md 1.3, 1.4, 3.1.
"""

from __future__ import annotations

import asyncio

from gateway.config import OperatorConfig
from gateway.core import canonical
from gateway.core.ed25519 import KeyRefused, SigningKey, find_verifying_key
from gateway.core.encoding import SIGNATURE_BYTES
from gateway.core.secret import Secret
from gateway.doctor.phoenix_request import get, is_success, status_text, without_credentials
from gateway.doctor.report import Result, fault, ok, warning
from gateway.errors import SigningKeyUnavailable
from gateway.keys.signers.signing_queue import LaunchKey, RemoteKey
from gateway.keys.signers.store import KeyStore
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.store_failure import StoreFailed
from gateway.phoenix.auth.authorize import operator_signature
from gateway.phoenix.auth.modes import OperatorSignature
from gateway.phoenix.auth.signer import Signer
from gateway.phoenix.http_types import Answer, ExchangeFailed, Sender
from gateway.phoenix.prediction.operator_api import SETTINGS_PATH
from gateway.phoenix.prediction.signing_keys import SIGNING_KEY_PATH
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

LEAST_SECRET_BYTES = 16

_NO_TOKEN = b"phoenix-gateway doctor: this is no token"
_RIGHTS = "give the gateway the rights that docs/signers.md lists for this store, and no others"

SAME_VALUE_TWICE = warning(
    "ADMIN_API_KEY and INGESTION_HMAC_SECRET hold the same value",
    "Phoenix issues two values: put each in its own setting",
)


def secret_shape(source: SecretSource, secret: Secret) -> Result:
    """Check a secret's length: Phoenix refuses a value that was copied in part, and gives no reason."""
    value = secret.reveal()
    origin = _origin(source)
    if len(value) < LEAST_SECRET_BYTES:
        return warning(
            f"has fewer than {LEAST_SECRET_BYTES} bytes; {origin}", f"check that {source.setting} was copied whole"
        )
    return ok(f"usable; {origin}")


def launch_key(source: SecretSource, key: SigningKey) -> Result:
    """Show the public facts of an operator's key."""
    return ok(f"Ed25519, pair proven by signing; {_origin(source)}; SHA-256 of its public half: {key.key_id}")


class StoredLaunchKey:
    """Whether a store signs with an operator's key, and whether the gateway may do more with it than it needs."""

    def __init__(self, store: KeyStore, key: RemoteKey) -> None:
        """`key` is the version in use."""
        self._store = store
        self._key = key

    async def probe(self, deadline: Deadline) -> Result:
        """Sign a message that is no token, then ask for rights that the gateway does not need."""
        where = f"{self._store.reference}, SHA-256 of its public half: {self._key.key_id}"
        try:
            signature = await self._key.sign_one(_NO_TOKEN, deadline.remaining())
            assert len(signature) == SIGNATURE_BYTES
        except SigningKeyUnavailable:
            return fault(f"the store lists the key and does not sign with it ({self._key.trouble}); {where}", _RIGHTS)
        try:
            needless = await asyncio.to_thread(self._store.needless_rights)
        except StoreFailed as failure:
            return warning(f"signs; whether the gateway may do more than that is unknown: {failure}; {where}", _RIGHTS)
        if needless:
            return warning(f"signs, but the gateway {', '.join(needless)}; {where}", _RIGHTS)
        return ok(f"Ed25519, signs, and the gateway may do no more than that; {where}")


class RegisteredKey:
    """Whether Phoenix has the public half of an operator's key: a signed read of the operator's settings."""

    def __init__(self, config: OperatorConfig, key: LaunchKey, *, signer: Signer, sender: Sender, clock: Clock) -> None:
        """Ask as this operator; `key` is the one that `signer` signs with."""
        self._code = config.keys.operator_code
        self._environment = config.keys.environment
        self._base_url = config.base_url
        self._key = key
        self._signer = signer
        self._sender = sender
        self._clock = clock

    async def probe(self, deadline: Deadline) -> Result:
        """Try the six-part signature, then the older form, then compare the key that Phoenix publishes for us."""
        try:
            answer = await self._read_settings(OperatorSignature.SIX, deadline)
            if is_success(answer):
                return ok("Phoenix accepted a signed GET: it has the public half of PREDICTION_LAUNCH_KEY")
            if answer.status == 401:
                older = await self._read_settings(OperatorSignature.FIVE, deadline)
                if is_success(older):
                    return ok(
                        "Phoenix accepted a GET signed in the older form: "
                        "it has the public half of PREDICTION_LAUNCH_KEY"
                    )
            return await self._compare_published(answer, deadline)
        except ExchangeFailed as failure:
            return fault(f"no answer: {failure}", "see the lines about the host of PREDICTION_BASE_URL")

    async def _read_settings(self, form: OperatorSignature, deadline: Deadline) -> Answer:
        signed = operator_signature(self._signer, self._code, self._environment, self._clock, form)
        return await get(self._sender, self._base_url, SETTINGS_PATH, signed, deadline)

    async def _compare_published(self, refusal: Answer, deadline: Deadline) -> Result:
        """Say which of key, environment and operator code may be wrong; Phoenix does not say it."""
        raw_path = f"/o/{canonical.encode_segment(self._code)}{SIGNING_KEY_PATH}"
        published = await get(self._sender, self._base_url, raw_path, without_credentials, deadline)
        refused = f"Phoenix refused a signed GET of the Operator API ({status_text(refusal)})"
        if refusal.status != 401:
            refused = f"the Operator API answered {status_text(refusal)}, which proves nothing"
        try:
            registered = find_verifying_key(published.body) if is_success(published) else None
        except KeyRefused:
            registered = None
        if registered is not None and registered.key_id == self._key.key_id:
            return warning(
                f"{refused}, but it publishes our public key for this operator",
                "check PREDICTION_ENVIRONMENT and the clock; Phoenix may refuse launch tokens for the same reason",
            )
        if registered is not None:
            return fault(
                f"{refused}; it publishes key {registered.key_id} for this operator, ours is {self._key.key_id}",
                "register our public half with Phoenix, or put the private half of the registered key into "
                "PREDICTION_LAUNCH_KEY; an operator's key can differ between sandbox and prod",
            )
        if refusal.status == 401:
            return fault(
                f"{refused}, and publishes no key for this operator ({status_text(published)})",
                "check PREDICTION_OPERATOR_CODE and PREDICTION_ENVIRONMENT, and register the public half with Phoenix",
            )
        return warning(refused, "ask Phoenix whether the Operator API is open to this operator")


def operator_id(config: OperatorConfig) -> Result:
    """Say what PREDICTION_OPERATOR_ID does. Only a wallet call of Phoenix can show whether it is right."""
    if config.keys.operator_id is None:
        return warning(
            "PREDICTION_OPERATOR_ID is not set: one platform key signs for all operators, so a wallet call that was "
            "meant for another operator is not noticed",
            "take operator_id from a wallet call of your own and set it",
        )
    return ok(
        "set; a wallet call that names another operator_id gets 403, which Phoenix never retries, so a wrong value "
        "here loses moves",
        "compare it with operator_id in a wallet call of your own before you go live",
    )


def _origin(source: SecretSource) -> str:
    if source.stored is not None:
        return f"from {source.setting}, {source.stored.reference}"
    return f"from {source.setting}" + ("" if source.path is None else ", a file that others cannot read")
