"""Assembles the configuration and proves the keys, before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.config import names, operators, tenants
from gateway.config.callers import PolicyNames, read_callers
from gateway.config.faults import ConfigInvalid, Faults
from gateway.config.identities import check_callers, warn_of_oddities
from gateway.config.model import Config, Listen, OperatorConfig, TenantConfig
from gateway.config.process import read_admin_address, read_process
from gateway.config.proxies import check_proxies
from gateway.config.secret_stores import read_stores
from gateway.config.sources import read_sources, read_toml, settings_digest
from gateway.config.values import Reader
from gateway.core.rights import Callers, open_to_local
from gateway.interceptors.access import method_access
from gateway.keys.own.keyring import Keyring, KeyringRefused
from gateway.resilience.clock import SystemClock


def load(environ: Mapping[str, str] | None = None, *, env_file: Path | None = None) -> Config:
    """Return the configuration of this process.

    Args: `environ` None means that of the process. Relative paths start at the working directory, in TOML at the folder
    of the file. Raises: ConfigInvalid with every fault, and without values.
    """
    faults = Faults()
    sources = read_sources(os.environ if environ is None else environ, env_file, faults)
    stores = read_stores(Reader(sources.process, faults))
    own = Reader(sources.process, faults, stores)
    tenant_readers = [own] if tenants.is_meant(own) else []
    tenant_readers += [Reader(scope, faults, stores) for scope in sources.tenants]
    operator_readers = [own] if operators.is_meant(own) else []
    operator_readers += [Reader(scope, faults, stores) for scope in sources.operators]

    process = read_process(own)
    found_tenants = [tenants.read_tenant(reader) for reader in tenant_readers]
    found_operators = [operators.read_operator(reader) for reader in operator_readers]
    _check_once(tenant_readers, "TENANT_ID", [one.keys.tenant_id for one in found_tenants])
    codes = [f"{one.keys.operator_code}\n{one.keys.environment.value}" for one in found_operators]
    _check_once(operator_readers, "PREDICTION_OPERATOR_CODE", codes)
    _prove_keys(found_tenants, found_operators, faults)
    check_proxies(os.environ if environ is None else environ, found_tenants, found_operators, faults)
    # If the TOML file is broken, the missing settings may be in it: its own fault is enough.
    if not found_tenants and not found_operators and not faults.found:
        remedy = "set these, or PREDICTION_OPERATOR_CODE and its companions, or name a TOML file by GATEWAY_CONFIG"
        faults.add("TENANT_ID, ADMIN_API_KEY, INGESTION_HMAC_SECRET", "are missing: nothing is configured", remedy)
    callers = read_callers(sources.policy, _known(found_tenants, found_operators), faults)
    is_trial = process.dev_token is not None and names.TRIAL in (os.environ if environ is None else environ)
    if callers is None or is_trial:
        callers = open_to_local(method_access(), process.phoenix_paths)
    else:
        warn_of_oddities(callers, method_access(), process.sockets, faults)
        if process.phoenix_paths:
            faults.warn(
                "PHOENIX_PATHS", "is not used while there is a policy", "set phoenix_paths of its callers instead"
            )
    check_callers(callers, process.tls, process.sockets, process.trusted_proxies, faults)
    faults.raise_if_any()
    return Config(
        tenants=tuple(found_tenants),
        operators=tuple(found_operators),
        listen=process.listen,
        admin_listen=process.admin_listen,
        admin_client_auth=process.admin_client_auth,
        has_console=process.has_console,
        tls=process.tls,
        upstream_ca_file=process.upstream_ca_file,
        front=process.front,
        workers=process.workers,
        drain=process.drain,
        token_backdate_s=process.token_backdate_s,
        audit=process.audit,
        traces=process.traces,
        dumpable=process.dumpable,
        log_level=process.log_level,
        log_format=process.log_format,
        log_successes=process.log_successes,
        reads=process.reads,
        redis=process.redis,
        database_url=process.database_url,
        database_source=process.database_source,
        data_dir=process.data_dir,
        queue=process.queue,
        evidence_key=process.evidence_key,
        phoenix_paths=process.phoenix_paths,
        callers=callers,
        config_file=None if is_trial else sources.file,
        config_stamp=sources.stamp,
        config_digest=sources.digest,
        env_file=sources.env_file,
        sockets=process.sockets,
        trusted_proxies=process.trusted_proxies,
        dev_token=process.dev_token,
        secret_stores=stores,
        warnings=tuple(faults.warnings),
    )


def admin_address(environ: Mapping[str, str] | None = None, *, env_file: Path | None = None) -> tuple[Listen, bool]:
    """Return where a gateway with these settings has its admin port, and whether that uses TLS. No store is asked.

    For a configuration that `load` refuses, as it does while the store of a reference is down.
    """
    faults = Faults()
    sources = read_sources(os.environ if environ is None else environ, env_file, faults)
    return read_admin_address(Reader(sources.process, faults))


def read_policy_again(config: Config) -> tuple[Callers, bool]:
    """Return the callers that the TOML file names now, for a process that keeps all its other settings.

    Returns: also whether the file's other settings have changed since the start.
    Raises: ConfigInvalid with every fault. A file that no longer names callers is a fault.
    """
    faults = Faults()
    assert config.config_file is not None, "without a file there is nothing to read again"
    document = read_toml(config.config_file, faults)
    faults.raise_if_any()
    callers = read_callers(document, _known(config.tenants, config.operators), faults)
    if callers is None:
        faults.add(
            "callers", "are gone from the file; removing the policy needs a restart", "write each as [[callers]]"
        )
        raise ConfigInvalid(faults.found)
    check_callers(callers, config.tls, config.sockets, config.trusted_proxies, faults)
    faults.raise_if_any()
    return callers, settings_digest(document) != config.config_digest


def _known(found_tenants: Sequence[TenantConfig], found_operators: Sequence[OperatorConfig]) -> PolicyNames:
    return PolicyNames(
        access=method_access(),
        tenants=tuple(one.keys.tenant_id for one in found_tenants),
        operators=tuple((one.keys.operator_code, one.keys.environment) for one in found_operators),
    )


def _check_once(readers: Sequence[Reader], name: str, identities: Sequence[str]) -> None:
    for index, (reader, identity) in enumerate(zip(readers, identities, strict=True)):
        if identity in identities[:index] and reader.given(name):
            reader.fault(name, "is configured twice", "remove one of the two")


def _prove_keys(found: Sequence[TenantConfig], operators: Sequence[OperatorConfig], faults: Faults) -> None:
    """Load every key as the server does: check its format and file permissions, and prove the pair by signing."""
    try:
        Keyring(tenants=[one.keys for one in found], operators=[one.keys for one in operators], clock=SystemClock())
    except KeyringRefused as refused:
        for fault in refused.faults:
            faults.add(fault.setting, fault.description)
