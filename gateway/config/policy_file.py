"""Reads a policy by itself, for people and pipelines. It needs the names of tenants and operators, and no secret."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config import names
from gateway.config.callers import PolicyNames, read_callers
from gateway.config.faults import ConfigInvalid, Fault, Faults
from gateway.config.identities import read_sockets, warn_of_oddities
from gateway.config.sources import Scope as Settings
from gateway.config.sources import read_sources
from gateway.config.values import Reader
from gateway.core.rights import Callers
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.interceptors.access import method_access


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """The callers of a file, the names that it may use, and warnings."""

    callers: Callers
    known: PolicyNames
    warnings: tuple[Fault, ...]


def read_policy(path: Path, environ: Mapping[str, str] | None = None, *, env_file: Path | None = None) -> PolicyFile:
    """Read the policy of a TOML file. Tenants and operators are those of the file and of the environment.

    Raises: ConfigInvalid with every fault of the policy and of the rest of the file.
    """
    given = dict(os.environ if environ is None else environ)
    given[names.CONFIG_FILE] = str(path)
    faults = Faults()
    sources = read_sources(given, env_file, faults)
    known = PolicyNames(
        access=method_access(),
        tenants=tuple(_tenants([sources.process, *sources.tenants])),
        operators=tuple(_operators([sources.process, *sources.operators])),
    )
    callers = read_callers(sources.policy, known, faults)
    sockets = read_sockets(Reader(sources.process, faults), workers=1)
    if callers is None and not faults.found:
        faults.add("callers", "are missing, so the file holds no policy", "write each as [[callers]]")
    for socket in sockets:
        if callers is not None and socket.caller not in callers.by_name:
            faults.add("GATEWAY_SOCKETS", "names a caller that the policy does not have")
    if faults.found or callers is None:
        raise ConfigInvalid(faults.found, faults.warnings)
    warn_of_oddities(callers, known.access, sockets, faults)
    return PolicyFile(callers=callers, known=known, warnings=tuple(faults.warnings))


def _tenants(scopes: list[Settings]) -> dict[TenantId, None]:
    found = [scope.get("TENANT_ID") for scope in scopes]
    return {TenantId(one.text.strip()): None for one in found if one is not None}


def _operators(scopes: list[Settings]) -> dict[tuple[OperatorCode, Environment], None]:
    found: dict[tuple[OperatorCode, Environment], None] = {}
    values = {environment.value: environment for environment in Environment}
    for scope in scopes:
        code, environment = scope.get("PREDICTION_OPERATOR_CODE"), scope.get("PREDICTION_ENVIRONMENT")
        if code is not None and environment is not None and environment.text.strip() in values:
            found[OperatorCode(code.text.strip()), values[environment.text.strip()]] = None
    return found
