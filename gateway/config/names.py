"""The names of all settings, as the environment and the TOML file write them.

The tables with meaning and default are in tenant_settings, operator_settings and process_settings. The readers check
the values.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import operator_settings, process_settings, tenant_settings
from gateway.config.setting import Form
from gateway.core.secret_reference import SECRET_SCHEMES, SIGNER_SCHEMES, Scheme

CONFIG_FILE = process_settings.CONFIG_FILE.name
TRIAL = "GATEWAY_TRIAL_RUN"
"""Not a setting: `smoke` puts it into the environment of the gateway that it starts. The policy is read but not in
force: the development token of that run, which must be set too, may do everything."""
ENV_FILE = "GATEWAY_ENV_FILE"
"""Not a setting: `--env-file` names in it the file that is read in place of `.env`."""
OF_COMMANDS = "GATEWAY_TARGET"
"""Begins the names of what commands take where --target and the options of TLS are not given. Not settings."""
TRIAL_WITHOUT = (
    "GATEWAY_TLS_CERT_FILE",
    "GATEWAY_TLS_KEY_FILE",
    "GATEWAY_TLS_CLIENT_CA_FILE",
    "GATEWAY_SOCKETS",
    "GATEWAY_TRUSTED_PROXIES",
    "GATEWAY_DEV_TOKEN_FILE",
    "GATEWAY_DEV_TOKEN_REF",
    "GATEWAY_WORKERS",
    "GATEWAY_AUDIT_FILE",
    "GATEWAY_AUDIT_REQUIRED",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "REDIS_URL",
    "REDIS_URL_FILE",
    "REDIS_URL_REF",
    "GATEWAY_CACHE_KEYS",
    "GATEWAY_CACHE_KEYS_FILE",
    "GATEWAY_CACHE_KEYS_REF",
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "DATABASE_URL_REF",
)
"""Settings that such a gateway ignores: how others call it, and what it shares with others."""

TENANT_OWN = tenant_settings.OWN.names
"""The settings that define one tenant; never inherited."""
TENANT_SHARED = tenant_settings.SHARED.names
"""A tenant of the TOML file may set these for itself. It inherits those that it omits."""
OPERATOR_OWN = operator_settings.OWN.names
"""The settings that define one operator environment; never inherited."""
OPERATOR_SHARED = operator_settings.SHARED.names
"""An operator of the TOML file may set these for itself. It inherits those that it omits."""
PROCESS = tuple(name for subject in process_settings.SUBJECTS for name in subject.names)

SUBJECTS = (
    tenant_settings.OWN,
    tenant_settings.SHARED,
    operator_settings.OWN,
    operator_settings.SHARED,
    *process_settings.SUBJECTS,
)
"""Every setting but `CONFIG_FILE`."""
SECRETS = frozenset(one.name for subject in SUBJECTS for one in subject.settings if one.form is Form.SECRET)
WITH_FILE = frozenset(one.name for subject in SUBJECTS for one in subject.settings if one.form is not Form.PLAIN)
"""Settings that may be read from a file instead: NAME_FILE."""

WITH_REFERENCE = SECRETS - {"VAULT_TOKEN", "VAULT_SECRET_ID"}
"""Secrets that may be in a store instead: NAME_REF. What logs in to a store cannot come from one."""


def schemes_of(name: str) -> tuple[Scheme, ...]:
    """Return what a reference of this secret may begin with."""
    if name == "PREDICTION_LAUNCH_KEY":
        return (*SECRET_SCHEMES, *SIGNER_SCHEMES)
    return (*SECRET_SCHEMES, Scheme.VAULT_DATABASE) if name == "DATABASE_URL" else SECRET_SCHEMES


OWN_PREFIXES = ("GATEWAY_", "PREDICTION_", "PHOENIX_")
"""Environment variables with these prefixes are checked for misspellings. Others belong to other programs."""


def with_files(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names and the NAME_FILE form of those that have one."""
    return names + tuple(f"{name}_FILE" for name in names if name in WITH_FILE)


def with_forms(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names and every form that they may be given in: NAME, NAME_FILE, NAME_REF."""
    return with_files(names) + tuple(f"{name}_REF" for name in names if name in WITH_REFERENCE)


def plain_name(name: str) -> str:
    """Return the name of a setting without the ending of its form."""
    base = name.removesuffix("_FILE").removesuffix("_REF")
    return base if base in WITH_FILE else name


def forms_of(name: str) -> tuple[str, str, str]:
    """Return the names under which a setting may be given. Only one of them may be."""
    return name, f"{name}_FILE", f"{name}_REF"


TENANT_NAMES = with_forms(TENANT_OWN + TENANT_SHARED)
OPERATOR_NAMES = with_forms(OPERATOR_OWN + OPERATOR_SHARED)
TOP_NAMES = TENANT_NAMES + OPERATOR_NAMES + with_forms(PROCESS)
ENVIRONMENT_NAMES = (CONFIG_FILE, *TOP_NAMES)


def in_table(name: str) -> str:
    """Return how a setting is written inside [[tenants]] or [[operators]]: lower case, without PREDICTION_."""
    return name.removeprefix("PREDICTION_").lower()


TENANT_KEYS: Mapping[str, str] = {in_table(name): name for name in TENANT_NAMES}
OPERATOR_KEYS: Mapping[str, str] = {in_table(name): name for name in OPERATOR_NAMES}
AUDIT_KEYS: Mapping[str, str] = {"file": "GATEWAY_AUDIT_FILE", "required": "GATEWAY_AUDIT_REQUIRED"}
"""Inside [audit]."""
TOP_KEYS: Mapping[str, str] = {name.lower(): name for name in TOP_NAMES}
