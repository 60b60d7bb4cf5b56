"""Our own keys: where they stand and whether they look right; and whether Phoenix knows an operator's public half.

Loading the configuration has read every file, checked its permissions and proved each pair by signing; a file that
fails there is a fault of the configuration. Source: prediction.md 1.3, 1.4, 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import OperatorConfig
from gateway.core import canonical
from gateway.core.ed25519 import KeyRefused, SigningKey, load_verifying_key
from gateway.core.encoding import b64url_encode
from gateway.core.secret import Secret
from gateway.core.types import UnixSeconds
from gateway.doctor.probe import get, is_fine, named
from gateway.doctor.report import Verdict, fault, ok, warning
from gateway.keys.own.secret_files import SecretSource
from gateway.phoenix.http_types import Answer, ExchangeFailed, Sender
from gateway.phoenix.prediction.signing_keys import SIGNING_KEY_PATH
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

LEAST_SECRET_BYTES = 16
SETTINGS_PATH = "/operator/api/settings"


TWICE_THE_SAME = warning(
    "ADMIN_API_KEY and INGESTION_HMAC_SECRET hold the same value",
    "Phoenix issues two: put each in its own setting",
)


def secret_shape(source: SecretSource, secret: Secret) -> Verdict:
    """Look at a secret's ends and length: a value that was copied wrongly is refused by Phoenix with no reason."""
    value = secret.reveal()
    place = _place(source)
    if value != value.strip():
        return warning(f"begins or ends with a blank; {place}", f"take the blank out of {source.setting}")
    if len(value) < LEAST_SECRET_BYTES:
        return warning(
            f"has fewer than {LEAST_SECRET_BYTES} bytes; {place}", f"check that {source.setting} was copied whole"
        )
    return ok(f"usable; {place}")


def launch_key(source: SecretSource, key: SigningKey) -> Verdict:
    """Tell of an operator's key what may be told."""
    return ok(f"Ed25519, pair proven by signing; {_place(source)}; SHA-256 of its public half: {key.key_id}")


class RegisteredKey:
    """Whether Phoenix holds the public half of an operator's key: a signed read of the operator's settings."""

    def __init__(self, config: OperatorConfig, key: SigningKey, *, sender: Sender, clock: Clock) -> None:
        """Ask as this operator."""
        self._code = config.keys.operator_code
        self._environment = config.keys.environment
        self._base_url = config.base_url
        self._key = key
        self._sender = sender
        self._clock = clock

    async def look(self, deadline: Deadline) -> Verdict:
        """Sign in the present form, then in the older one, then compare the key that Phoenix publishes for us."""
        try:
            answer = await get(self._sender, self._base_url, SETTINGS_PATH, self._six, deadline)
            if is_fine(answer):
                return ok("Phoenix accepted a signed GET: it holds the public half of PREDICTION_LAUNCH_KEY")
            if answer.status == 401:
                older = await get(self._sender, self._base_url, SETTINGS_PATH, self._five, deadline)
                if is_fine(older):
                    return ok("Phoenix accepted a GET signed in the older form: it holds PREDICTION_LAUNCH_KEY's half")
            return await self._compare(answer, deadline)
        except ExchangeFailed as failure:
            return fault(f"no answer: {failure}", "look at the lines of PREDICTION_BASE_URL's host")

    async def _compare(self, refusal: Answer, deadline: Deadline) -> Verdict:
        """Say which of key, environment and operator may be wrong; Phoenix does not tell."""
        raw_path = f"/o/{canonical.encode_segment(self._code)}{SIGNING_KEY_PATH}"
        published = await get(self._sender, self._base_url, raw_path, lambda method, path, body: {}, deadline)
        said = f"Phoenix refused a signed GET of the Operator API ({named(refusal)})"
        if refusal.status != 401:
            said = f"the Operator API answered {named(refusal)}, which proves nothing"
        try:
            registered = load_verifying_key(published.body) if is_fine(published) else None
        except KeyRefused:
            registered = None
        if registered is not None and registered.key_id == self._key.key_id:
            return warning(
                f"{said}, yet it publishes our public key for this operator",
                "check PREDICTION_ENVIRONMENT and the clock; launch tokens may be refused the same way",
            )
        if registered is not None:
            return fault(
                f"{said}; for this operator it publishes another key ({registered.key_id}) than ours "
                f"({self._key.key_id})",
                "register our public half with Phoenix, or put the registered key's private half into "
                "PREDICTION_LAUNCH_KEY; an operator's key can differ between sandbox and prod",
            )
        if refusal.status == 401:
            return fault(
                f"{said}, and publishes no key for this operator ({named(published)})",
                "check PREDICTION_OPERATOR_CODE and PREDICTION_ENVIRONMENT, and register the public half with Phoenix",
            )
        return warning(said, "ask Phoenix whether the Operator API is open to this operator")

    def _six(self, method: str, path: str, body: bytes) -> Mapping[str, str]:
        at = self._now()
        message = canonical.operator_request(
            operator_code=self._code, environment=self._environment, at=at, method=method, path=path, body=body
        )
        return {"x-operator-environment": self._environment.value, **self._headers(at, message)}

    def _five(self, method: str, path: str, body: bytes) -> Mapping[str, str]:
        at = self._now()
        message = canonical.operator_request_five(operator_code=self._code, at=at, method=method, path=path, body=body)
        return self._headers(at, message)

    def _headers(self, at: UnixSeconds, message: bytes) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "x-operator-code": self._code,
            "x-signature-timestamp": str(at),
            "x-signature": b64url_encode(self._key.sign(message)),
        }

    def _now(self) -> UnixSeconds:
        return UnixSeconds(int(self._clock.now()))


def operator_id(config: OperatorConfig) -> Verdict:
    """Say what PREDICTION_OPERATOR_ID does; whether it is right, only a wallet call of Phoenix's can show."""
    if config.keys.operator_id is None:
        return warning(
            "PREDICTION_OPERATOR_ID is not set: one platform key signs for all operators, and a wallet call that was "
            "meant for another one would not be noticed",
            "take operator_id from a wallet call of your own and set it",
        )
    return ok(
        "set; a wallet call that names another operator_id is answered 403, which Phoenix never tries again, so a "
        "wrong value here loses moves for good",
        "compare it with operator_id in a wallet call of your own before going live",
    )


def _place(source: SecretSource) -> str:
    return f"from {source.setting}" + ("" if source.path is None else ", a file that only its owner can read")
