"""The sandbox's start options: listeners, tenants and operators, read from flags, environment and a TOML file.

Every fault is found before the start and reported by the setting's name, never by its value.
"""

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.sandbox.signatures import load_private_key, load_public_key, public_pem

DEFAULT_CURRENCIES = ("EUR", "USD", "ETB")
ENVIRONMENTS = ("sandbox", "prod")


class OptionsInvalid(Exception):
    """The sandbox cannot start. `faults` lists everything that is wrong, by name."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantIdentity:
    """One Gamification tenant and the secrets that Phoenix shares with it."""

    tenant_id: str
    admin_api_key: str = field(repr=False)
    admin_api_key_id: str | None
    hmac_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorIdentity:
    """One Prediction operator in one environment, with the public key that it registered at Phoenix.

    `private_key_pem` is present only if the key came from PREDICTION_LAUNCH_KEY. Its only use is to forge wallet calls
    that are signed with the operator's key.
    """

    operator_code: str
    environment: str
    operator_id: str
    public_key_pem: str
    private_key_pem: str | None = field(repr=False, default=None)
    currencies: tuple[str, ...] = DEFAULT_CURRENCIES


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """The checked options for `run`. Made by `read_options`."""

    tenants: tuple[TenantIdentity, ...]
    operators: tuple[OperatorIdentity, ...]
    host: str = "127.0.0.1"
    port_base: int = 0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    ready_file: Path | None = None
    platform_key_pem: str | None = field(repr=False, default=None)


def is_loopback(host: str) -> bool:
    """Tell whether `host` is loopback. A name other than localhost counts as public."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_options(
    environ: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    port_base: int = 0,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    ready_file: Path | None = None,
    config: Path | None = None,
) -> SandboxOptions:
    """Return checked options. Raises OptionsInvalid with all faults at once.

    Each secret may also come as NAME_FILE, the path of a file; trailing newlines of the file are dropped.
    """
    faults: list[str] = []
    if (tls_cert is None) != (tls_key is None):
        faults.append("--tls-cert and --tls-key: give both or neither")
    for flag, path in (("--tls-cert", tls_cert), ("--tls-key", tls_key)):
        if path is not None and not path.is_file():
            faults.append(f"{flag}: no such file")
    if not is_loopback(host) and tls_cert is None:
        faults.append("--host: an address that is not loopback needs --tls-cert and --tls-key")
    if not 0 <= port_base <= 65531:
        faults.append("--port-base: 0 or a port from 1 to 65531")
    environment = _Environment(environ, faults)
    tenants = [*_tenant_from_environment(environment, faults)]
    operators = [*_operator_from_environment(environment, faults)]
    if config is not None:
        _read_config(config, tenants, operators, faults)
    if not tenants and not operators and not faults:
        faults.append("TENANT_ID or PREDICTION_OPERATOR_CODE: at least one tenant or operator is needed")
    if len({tenant.tenant_id for tenant in tenants}) != len(tenants):
        faults.append("tenants: a tenant_id is given twice")
    if len({(each.operator_code, each.environment) for each in operators}) != len(operators):
        faults.append("operators: an operator_code and environment is given twice")
    platform_key = environment.secret("SANDBOX_PLATFORM_KEY")
    if platform_key is not None:
        _derive_public_key(platform_key, "SANDBOX_PLATFORM_KEY", faults)
    if faults:
        raise OptionsInvalid(faults)
    return SandboxOptions(
        tenants=tuple(tenants),
        operators=tuple(operators),
        host=host,
        port_base=port_base,
        tls_cert=tls_cert,
        tls_key=tls_key,
        ready_file=ready_file,
        platform_key_pem=platform_key,
    )


class _Environment:
    """Reads NAME or NAME_FILE and collects what is wrong with either."""

    def __init__(self, environ: Mapping[str, str], faults: list[str]) -> None:
        self._environ = environ
        self._faults = faults

    def secret(self, name: str) -> str | None:
        """Return the value, None when neither form is set or the file cannot be read (then a fault is noted)."""
        value, file = self._environ.get(name), self._environ.get(f"{name}_FILE")
        if value and file:
            self._faults.append(f"{name} and {name}_FILE: give one of the two")
            return None
        if not file:
            return value or None
        try:
            return Path(file).read_text(encoding="utf-8").rstrip("\r\n") or None
        except (OSError, UnicodeDecodeError):
            self._faults.append(f"{name}_FILE: cannot be read")
            return None


def _tenant_from_environment(environment: _Environment, faults: list[str]) -> list[TenantIdentity]:
    tenant_id = environment.secret("TENANT_ID")
    api_key = environment.secret("ADMIN_API_KEY")
    api_key_id = environment.secret("ADMIN_API_KEY_ID")
    secret = environment.secret("INGESTION_HMAC_SECRET")
    if tenant_id is None:
        return []
    if api_key is None or secret is None:
        missing = [n for n, v in (("ADMIN_API_KEY", api_key), ("INGESTION_HMAC_SECRET", secret)) if v is None]
        faults.extend(f"{name}: missing" for name in missing)
        return []
    return [TenantIdentity(tenant_id=tenant_id, admin_api_key=api_key, admin_api_key_id=api_key_id, hmac_secret=secret)]


def _operator_from_environment(environment: _Environment, faults: list[str]) -> list[OperatorIdentity]:
    code = environment.secret("PREDICTION_OPERATOR_CODE")
    name = environment.secret("PREDICTION_ENVIRONMENT") or "sandbox"
    private_pem = environment.secret("PREDICTION_LAUNCH_KEY")
    operator_id = environment.secret("PREDICTION_OPERATOR_ID")
    if code is None:
        return []
    if name not in ENVIRONMENTS:
        faults.append("PREDICTION_ENVIRONMENT: neither sandbox nor prod")
    if private_pem is None:
        faults.append("PREDICTION_LAUNCH_KEY: missing")
        return []
    public_pem = _derive_public_key(private_pem, "PREDICTION_LAUNCH_KEY", faults)
    return [
        OperatorIdentity(
            operator_code=code,
            environment=name,
            operator_id=operator_id or code,
            public_key_pem=public_pem,
            private_key_pem=private_pem,
        )
    ]


def _derive_public_key(private_pem: str, name: str, faults: list[str]) -> str:
    """Return the SPKI PEM of a private key. Return "" and add a fault if it is not an Ed25519 key."""
    try:
        return public_pem(load_private_key(private_pem))
    except ValueError:
        faults.append(f"{name}: not an Ed25519 private key in PEM")
        return ""


def _read_config(
    path: Path, tenants: list[TenantIdentity], operators: list[OperatorIdentity], faults: list[str]
) -> None:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        faults.append("--config: cannot be read")
        return
    except tomllib.TOMLDecodeError:
        faults.append("--config: not TOML")  # the parser's message may quote a secret
        return
    for index, table in enumerate(document.get("tenants", [])):
        where = f"tenants[{index}]"
        values = _read_texts(table, where, ("tenant_id", "admin_api_key", "hmac_secret"), ("admin_api_key_id",), faults)
        if values is not None:
            tenants.append(
                TenantIdentity(
                    tenant_id=values["tenant_id"],
                    admin_api_key=values["admin_api_key"],
                    admin_api_key_id=values.get("admin_api_key_id"),
                    hmac_secret=values["hmac_secret"],
                )
            )
    for index, table in enumerate(document.get("operators", [])):
        _read_operator(table, f"operators[{index}]", operators, faults)


def _read_operator(table: Any, where: str, operators: list[OperatorIdentity], faults: list[str]) -> None:
    values = _read_texts(table, where, ("operator_code", "environment", "public_key_pem"), ("operator_id",), faults)
    if values is None:
        return
    if values["environment"] not in ENVIRONMENTS:
        faults.append(f"{where}.environment: neither sandbox nor prod")
    try:
        load_public_key(values["public_key_pem"])
    except ValueError:
        faults.append(f"{where}.public_key_pem: not an Ed25519 public key in SPKI PEM")
    currencies = table.get("currencies", list(DEFAULT_CURRENCIES))
    if not isinstance(currencies, list) or not all(isinstance(each, str) for each in currencies):
        faults.append(f"{where}.currencies: a list of codes")
        return
    operators.append(
        OperatorIdentity(
            operator_code=values["operator_code"],
            environment=values["environment"],
            operator_id=values.get("operator_id", values["operator_code"]),
            public_key_pem=values["public_key_pem"],
            currencies=tuple(currencies),
        )
    )


def _read_texts(
    table: Any, where: str, required: tuple[str, ...], optional: tuple[str, ...], faults: list[str]
) -> dict[str, str] | None:
    """Return the named strings of a TOML table. If any is missing or not a string, add faults and return None."""
    if not isinstance(table, dict):
        faults.append(f"{where}: not a table")
        return None
    before = len(faults)
    values: dict[str, str] = {}
    for name in required + optional:
        value = table.get(name)
        if isinstance(value, str) and value:
            values[name] = value
        elif name in required or value is not None:
            faults.append(f"{where}.{name}: missing or not a text")
    return values if len(faults) == before else None
