"""One logged-in client of Vault or OpenBao, for secrets and for signing. Blocks: call it in a thread; many may.

It logs in when first used, renews its token after two thirds of the lifetime, and logs in again where that is refused.
A token file or JWT is read at each login, so that an agent may replace it. Nobody writes a token to a log or message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from gateway.core.secret import Secret, SecretRefused
from gateway.keys.sources.secret_files import SecretSource, read_secret_file
from gateway.keys.sources.store_failure import StoreCause, StoreFailed, need_extra

TIMEOUT_S = 5.0
_RENEW_AT = 2 / 3


class VaultLogin(Enum):
    """How the gateway logs in. The value is also the usual mount of the login."""

    TOKEN = "token"
    APPROLE = "approle"
    KUBERNETES = "kubernetes"
    JWT = "jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSettings:
    """Where Vault is and how the gateway logs in. `mount`: where the login is mounted, without auth/."""

    address: str
    login: VaultLogin
    namespace: str | None = None
    ca_file: Path | None = None
    mount: str = ""
    role: str | None = None
    token: SecretSource | None = None
    role_id: str | None = None
    secret_id: SecretSource | None = None
    jwt_file: Path | None = None


class RequestRefused(StoreFailed):
    """Vault understood the request and refuses it (400): what it names does not exist any more, or cannot be so."""


class VaultClient:
    """Sends requests to Vault with a valid token."""

    def __init__(self, settings: VaultSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Connect at the first request. Raises: StoreFailed if hvac is not installed."""
        need_extra("vault", "hvac")
        import hvac

        from gateway.keys.stores.bounded_answers import BoundedAdapter

        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._client = hvac.Client(
            url=settings.address,
            token="",  # None would make hvac look into the environment and the home folder
            namespace=settings.namespace,
            verify=str(settings.ca_file) if settings.ca_file else True,
            timeout=TIMEOUT_S,
            allow_redirects=False,  # a redirect would take the token to another host
        )
        BoundedAdapter().mount_on(self._client.session)
        self._renewable = False
        self._tokens = 0
        self._last_token = ""
        self._renew_at = self._expires_at = float("-inf")

    @property
    def address(self) -> str:
        """The address, for messages."""
        return self._settings.address

    def log_in(self) -> int:
        """Log in or renew the token where that is due. Return how many tokens there were so far, with this one.

        What Vault gave to a token ends with it. Raises: StoreFailed.
        """
        self._ensure_token()
        return self._tokens

    def get(self, path: str, **parameters: str) -> Mapping[str, Any]:
        """Return the answer to a read; also a 404 with data: a deleted version. Raises: StoreFailed."""
        return self._with_token("get", path, params=parameters)

    def rights(self, path: str) -> frozenset[str]:
        """Return what the token may do with a path, such as "read" or "update". Raises: StoreFailed."""
        found = self.post("sys/capabilities-self", {"paths": [path]}).get("capabilities")
        return frozenset(one for one in found if isinstance(one, str)) if isinstance(found, list) else frozenset()

    def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer to a write; {} if it has none. Raises: StoreFailed."""
        return self._with_token("post", path, json=dict(body))

    def close(self) -> None:
        """Close the connections."""
        self._client.adapter.close()

    def _with_token(self, method: str, path: str, **content: Any) -> Mapping[str, Any]:
        token = self._ensure_token()
        try:
            return self._send(method, path, **content)
        except StoreFailed as failure:
            if failure.cause is not StoreCause.FORBIDDEN or not self._is_dead(token):
                raise
        self._ensure_token()
        return self._send(method, path, **content)

    def _is_dead(self, token: str) -> bool:
        """Tell whether Vault refuses the token itself, not its rights; forget it then."""
        try:
            self._send("get", "auth/token/lookup-self")
        except StoreFailed as failure:
            if failure.cause is not StoreCause.FORBIDDEN:
                return False
            with self._lock:
                if self._client.token == token:
                    self._client.token = ""
            return True
        return False

    def _ensure_token(self) -> str:
        """Return the token in use, after a login or a renewal where one is due. Raises: StoreFailed."""
        with self._lock:
            now = self._clock()
            if not self._client.token:
                self._log_in(now)
            elif now >= self._renew_at:
                self._renew(now)
            if self._client.token != self._last_token:
                self._last_token, self._tokens = self._client.token, self._tokens + 1
            return self._last_token

    def _renew(self, now: float) -> None:
        """Renew the token, or log in again. A store that cannot do it now leaves a token that is still valid in use."""
        try:
            if self._renewable:
                try:
                    answer = self._send("post", "auth/token/renew-self", json={})
                    before = self._expires_at
                    self._adopt(answer.get("auth"), now)
                    if self._expires_at > before + 1:
                        return
                    # The token reached its longest lifetime: only a login helps.
                except StoreFailed as failure:
                    if failure.cause is not StoreCause.FORBIDDEN:
                        raise
            self._log_in(now)
        except StoreFailed:
            if now >= self._expires_at:
                raise

    def _log_in(self, now: float) -> None:
        one, mount = self._settings, self._settings.mount or self._settings.login.value
        if one.login is VaultLogin.TOKEN:
            self._client.token = _text(one.token, "VAULT_TOKEN")
            found = self._login_answer("get", "auth/token/lookup-self").get("data")
            lasts = found if isinstance(found, dict) else {}
            self._adopt_lifetime(lasts.get("ttl"), lasts.get("renewable"), now)
            return
        if one.login is VaultLogin.APPROLE:
            body = {"role_id": one.role_id or "", "secret_id": _text(one.secret_id, "VAULT_SECRET_ID")}
        else:
            file = one.jwt_file or Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
            body = {"role": one.role or "", "jwt": _jwt(file)}
        before, self._client.token = self._client.token, ""
        try:
            self._adopt(self._login_answer("post", f"auth/{mount}/login", json=body).get("auth"), now)
        except StoreFailed:
            self._client.token = before
            raise

    def _login_answer(self, method: str, path: str, **content: Any) -> Mapping[str, Any]:
        try:
            return self._send(method, path, **content)
        except StoreFailed as failure:
            if failure.cause not in (StoreCause.FORBIDDEN, StoreCause.NO_SUCH_PATH):
                raise
            if self._settings.login is VaultLogin.TOKEN:
                self._client.token = ""
            way = self._settings.login.value
            raise StoreFailed(
                StoreCause.LOGIN,
                f"{self.address} refuses the login by {way} at {path}; check VAULT_AUTH and its settings",
            ) from None

    def _adopt(self, granted: Any, now: float) -> None:
        if not isinstance(granted, dict) or not isinstance(granted.get("client_token"), str):
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, f"{self.address} answers a login without a token")
        self._client.token = granted["client_token"]
        self._adopt_lifetime(granted.get("lease_duration"), granted.get("renewable"), now)

    def _adopt_lifetime(self, seconds: Any, renewable: Any, now: float) -> None:
        lasts = float(seconds) if isinstance(seconds, int) and seconds > 0 else float("inf")  # 0: it never ends
        self._renewable = renewable is True
        self._renew_at, self._expires_at = now + lasts * _RENEW_AT, now + lasts

    def _send(self, method: str, path: str, **content: Any) -> Mapping[str, Any]:
        from hvac import exceptions

        from gateway.keys.stores.http_failures import Failure, failure_of

        where = f"{path} at {self.address}"
        try:
            answer = self._client.adapter.request(method, f"/v1/{path}", **content)
        except exceptions.InvalidRequest:
            is_login = path.endswith("/login")  # a wrong role or secret is 400 there
            cause = StoreCause.FORBIDDEN if is_login else StoreCause.UNUSABLE_ANSWER
            raise RequestRefused(cause, f"{where} refuses the request; check the reference") from None
        except (exceptions.Forbidden, exceptions.Unauthorized):
            raise StoreFailed(
                StoreCause.FORBIDDEN, f"may not use {where}; give the policy of its token that right"
            ) from None
        except exceptions.InvalidPath as error:
            if isinstance(error.json, dict) and isinstance(error.json.get("data"), dict):
                return error.json
            raise StoreFailed(
                StoreCause.NO_SUCH_PATH, f"there is nothing at {where}; check the path and namespace"
            ) from None
        except (exceptions.VaultDown, exceptions.VaultNotInitialized):
            raise StoreFailed(StoreCause.SEALED, f"{self.address} is sealed or not active; unseal it") from None
        except exceptions.VaultError as error:
            status = type(error).__name__
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, f"{where} answers with an error ({status})") from None
        except Failure as error:
            raise failure_of(error, self.address) from None
        if isinstance(answer, dict):
            return answer
        if getattr(answer, "status_code", None) == 204:
            return {}
        raise StoreFailed(
            StoreCause.UNUSABLE_ANSWER, f"{where} does not answer as Vault does; check VAULT_ADDR"
        ) from None


def _text(source: SecretSource | None, name: str) -> str:
    """Return a secret of the login, read now. Raises: StoreFailed."""
    try:
        if source is not None and source.path is not None:
            return read_secret_file(source.path)[0].reveal_text()
        if source is not None and source.value is not None:
            return source.value.reveal_text()
    except SecretRefused as refusal:
        raise StoreFailed(StoreCause.LOGIN, f"cannot log in: {name} {refusal}") from None
    raise StoreFailed(StoreCause.LOGIN, f"cannot log in: {name} is not set")


def _jwt(path: Path) -> str:
    """Return a token that the platform puts into a file, under the platform's own permissions. Raises: StoreFailed."""
    try:
        return Secret.from_text(path.read_text("ascii").strip()).reveal_text()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no token"
        raise StoreFailed(StoreCause.LOGIN, f"cannot log in: {path} cannot be read ({why})") from None
