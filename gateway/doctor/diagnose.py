"""The list of checks that the configuration calls for, and the function that runs it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import partial

from gateway.config import Config, Listen, OperatorConfig
from gateway.core.ed25519 import SigningKey
from gateway.doctor import config_checks, key_checks
from gateway.doctor.checks import LIMIT_S, Check, OnProgress, always, run_checks
from gateway.doctor.database_checks import database
from gateway.doctor.hosts import Host, judge_clock
from gateway.doctor.machine_checks import NOBODY_ANSWERS, audit_file, data_dir, listener, running_gateway
from gateway.doctor.own_tls import own_tls
from gateway.doctor.phoenix_checks import TenantChecks
from gateway.doctor.platform_checks import PlatformKeyCheck
from gateway.doctor.redis_checks import redis
from gateway.doctor.report import Finding, Result, fault, finding_of
from gateway.doctor.store_checks import store_checks
from gateway.keys.own.keyring import Keyring
from gateway.keys.own.load_keys import KEY_REFERENCE
from gateway.keys.signers.signing_queue import LaunchKey, RemoteKey
from gateway.phoenix.http_types import Sender
from gateway.phoenix.transport import Transport
from gateway.phoenix.trust import upstream_trust
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

CA_SETTING = "GATEWAY_UPSTREAM_CA_FILE"
_ADMIN = "GATEWAY_ADMIN_LISTEN"


async def diagnose(
    config: Config,
    clock: Clock,
    *,
    limit_s: float = LIMIT_S,
    on_progress: OnProgress = lambda done, total: None,
) -> list[Finding]:
    """Run every check and return the findings in the order of the report."""
    findings = config_checks.of_valid(config)
    try:
        trust = upstream_trust(config.upstream_ca_file)
        transport = Transport(ca_file=config.upstream_ca_file)
    except OSError as error:
        unreadable = fault(f"the file {error.strerror}", "put the CA's certificate into it")
        return [*findings, finding_of("tls", CA_SETTING, unreadable)]
    try:
        checks = _checks(config, clock, transport, trust)
        return findings + await run_checks(checks, clock, limit_s=limit_s, on_progress=on_progress)
    finally:
        await transport.close()


async def ask_running(admin: tuple[Listen, bool], clock: Clock, *, limit_s: float = LIMIT_S) -> list[Finding]:
    """Return what a gateway says that runs with settings that cannot be used now: it knows since when a store is down.

    Args: `admin`: its address, and whether it uses TLS. Returns: [] if none answers.
    """
    transport = Transport()
    try:
        result = await running_gateway(*admin, transport, Deadline.after(limit_s, clock))
    finally:
        await transport.close()
    return [] if result.what == NOBODY_ANSWERS else [finding_of("running", _ADMIN, result)]


def _checks(config: Config, clock: Clock, sender: Sender, trust: ssl.SSLContext) -> list[Check]:
    keyring = Keyring(
        tenants=[tenant.keys for tenant in config.tenants],
        operators=[operator.keys for operator in config.operators],
        clock=clock,
        token_backdate_s=config.token_backdate_s,
    )
    checks = [*_keys(config, keyring), *store_checks(config)]
    hosts = _hosts(config, clock, sender, trust)
    health: dict[str, Check] = {}
    for host in hosts.values():
        subject = f"{host.settings} ({host.name}:{host.port})"
        dns = Check(name="dns", subject=subject, probe=host.resolve)
        tls = Check(name="tls", subject=subject, probe=host.connect, needs=(dns,))
        health[host.base_url] = Check(name="health", subject=subject, probe=host.ask_health, needs=(tls,))
        checks += [dns, tls, health[host.base_url]]
    checks.append(_clock(list(hosts.values()), tuple(health.values())))
    checks += _tenants(config, clock, sender, keyring, hosts, health)
    checks += _operators(config, clock, sender, keyring, health)
    checks.append(Check(name="redis", subject="REDIS_URL", probe=partial(redis, config, clock)))
    checks.append(Check(name="data-dir", subject="GATEWAY_DATA_DIR", probe=partial(data_dir, config)))
    if config.audit is not None:
        checks.append(Check(name="audit", subject="GATEWAY_AUDIT_FILE", probe=partial(audit_file, config)))
    name = "DATABASE_URL" if config.database_url is not None else "GATEWAY_DATA_DIR"
    checks.append(Check(name="database", subject=name, probe=partial(database, config)))
    if config.tls is not None:
        checks.append(Check(name="own-tls", subject="GATEWAY_TLS_CERT_FILE", probe=partial(own_tls, config.tls, clock)))
    running = partial(running_gateway, config.admin_listen, config.tls is not None, sender)
    checks.append(Check(name="running", subject=_ADMIN, probe=running))
    for setting, listen in (("GATEWAY_LISTEN", config.listen), (_ADMIN, config.admin_listen)):
        probe = partial(listener, listen, setting, config, sender)
        checks.append(Check(name="listen", subject=setting, probe=probe))
    return checks


def _keys(config: Config, keyring: Keyring) -> list[Check]:
    checks: list[Check] = []
    for tenant in config.tenants:
        keys = keyring.tenant(tenant.keys.tenant_id)
        for source, secret in ((tenant.keys.hmac, keys.hmac), (tenant.keys.api_key, keys.api_key)):
            if source is not None and secret is not None:
                probe = always(key_checks.secret_shape(source, secret))
                checks.append(Check(name="key", subject=f"{keys.tenant_id}: {source.setting}", probe=probe))
        if keys.hmac is not None and keys.hmac == keys.api_key:
            checks.append(Check(name="key", subject=keys.tenant_id, probe=always(key_checks.SAME_VALUE_TWICE)))
    for operator in config.operators:
        source, key = operator.keys.signing_key, _launch_key(operator, keyring)
        if operator.keys.key_store is not None and isinstance(key, RemoteKey):
            stored = key_checks.StoredLaunchKey(operator.keys.key_store, key)
            checks.append(Check(name="key", subject=f"{_name(operator)}: {KEY_REFERENCE}", probe=stored.probe))
        if source is not None and isinstance(key, SigningKey):
            subject = f"{_name(operator)}: {source.setting}"
            checks.append(Check(name="key", subject=subject, probe=always(key_checks.launch_key(source, key))))
    return checks


def _hosts(config: Config, clock: Clock, sender: Sender, trust: ssl.SSLContext) -> dict[str, Host]:
    """Return every host of Phoenix once, with the settings that name it. The socket's host gets the HTTP checks too."""
    settings_of: dict[str, list[str]] = {}
    for tenant in config.tenants:
        for base_url, setting in (
            (tenant.ingestion_base_url, "INGESTION_BASE_URL"),
            (tenant.admin_base_url, "ADMIN_BASE_URL"),
            (tenant.query_base_url, "QUERY_BASE_URL"),
            (tenant.socket_base_url.replace("ws", "http", 1), "WEBSOCKET_URL"),
        ):
            settings_of.setdefault(base_url, []).append(setting)
    for operator in config.operators:
        settings_of.setdefault(operator.base_url, []).append("PREDICTION_BASE_URL")
    return {
        base_url: Host(
            base_url,
            list(dict.fromkeys(settings)),
            trust=trust,
            has_own_ca=config.upstream_ca_file is not None,
            sender=sender,
            clock=clock,
        )
        for base_url, settings in settings_of.items()
    }


def _tenants(
    config: Config, clock: Clock, sender: Sender, keyring: Keyring, hosts: dict[str, Host], health: dict[str, Check]
) -> list[Check]:
    checks: list[Check] = []
    for tenant in config.tenants:
        admin, query, tenant_id = tenant.admin_base_url, tenant.query_base_url, tenant.keys.tenant_id
        probes = TenantChecks(
            tenant, admin=hosts[admin], query=hosts[query], keyring=keyring, sender=sender, clock=clock
        )
        admin_up, query_up = (health[admin],), (health[query],)
        checks += [
            Check(name="admin", subject=tenant_id, probe=probes.admin_access, needs=admin_up),
            Check(name="hmac", subject=tenant_id, probe=probes.hmac, needs=admin_up, after=query_up),
            Check(name="query", subject=tenant_id, probe=probes.read, needs=query_up, after=admin_up),
        ]
    return checks


def _operators(config: Config, clock: Clock, sender: Sender, keyring: Keyring, health: dict[str, Check]) -> list[Check]:
    checks: list[Check] = []
    for operator in config.operators:
        key, needs, subject = _launch_key(operator, keyring), (health[operator.base_url],), _name(operator)
        platform = PlatformKeyCheck(operator, key, sender=sender, clock=clock)
        checks.append(Check(name="platform-key", subject=subject, probe=platform.probe, needs=needs))
        if key is not None:
            registered = key_checks.RegisteredKey(operator, key, signer=keyring, sender=sender, clock=clock)
            checks.append(Check(name="operator-key", subject=subject, probe=registered.probe, needs=needs))
        checks.append(Check(name="operator-id", subject=subject, probe=always(key_checks.operator_id(operator))))
    return checks


def _clock(hosts: Sequence[Host], health: tuple[Check, ...]) -> Check:
    async def probe(deadline: Deadline) -> Result:
        return judge_clock(hosts)

    return Check(name="clock", subject="", probe=probe, after=health)


def _launch_key(operator: OperatorConfig, keyring: Keyring) -> LaunchKey | None:
    return keyring.operator(operator.keys.operator_code, operator.keys.environment).signing_key


def _name(operator: OperatorConfig) -> str:
    return f"{operator.keys.operator_code}/{operator.keys.environment.value}"
