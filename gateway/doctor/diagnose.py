"""The list of what the doctor looks at, made from the configuration, and the one way to run it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import partial

from gateway.config import Config, OperatorConfig
from gateway.core.ed25519 import SigningKey
from gateway.doctor import config_checks, key_checks
from gateway.doctor.checks import LIMIT_S, Check, OnProgress, run_checks, told
from gateway.doctor.database_checks import database
from gateway.doctor.hosts import Host, judge_clock
from gateway.doctor.own_tls import own_tls
from gateway.doctor.phoenix_checks import TenantChecks
from gateway.doctor.place_checks import data_dir, listener
from gateway.doctor.platform_checks import PlatformKeyCheck
from gateway.doctor.redis_checks import redis
from gateway.doctor.report import Finding, Verdict, fault, found
from gateway.keys.own.keyring import Keyring
from gateway.phoenix.http_types import Sender
from gateway.phoenix.transport import Transport, upstream_trust
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

CA_SETTING = "GATEWAY_UPSTREAM_CA_FILE"


async def diagnose(
    config: Config,
    clock: Clock,
    *,
    limit_s: float = LIMIT_S,
    on_progress: OnProgress = lambda done, total: None,
) -> list[Finding]:
    """Look at everything and return a finding for each line of the report, in its order."""
    said = config_checks.of_valid(config)
    try:
        trust = upstream_trust(config.upstream_ca_file)
        transport = Transport(ca_file=config.upstream_ca_file)
    except (OSError, ssl.SSLError):
        unreadable = fault("its file holds no certificate in PEM", "put the CA's certificate there")
        return [*said, found("tls", CA_SETTING, unreadable)]
    try:
        checks = _list(config, clock, transport, trust)
        return said + await run_checks(checks, clock, limit_s=limit_s, on_progress=on_progress)
    finally:
        await transport.close()


def _list(config: Config, clock: Clock, sender: Sender, trust: ssl.SSLContext) -> list[Check]:
    keyring = Keyring(
        tenants=[tenant.keys for tenant in config.tenants],
        operators=[operator.keys for operator in config.operators],
        clock=clock,
    )
    checks = _keys(config, keyring)
    hosts = _hosts(config, clock, sender, trust)
    health: dict[str, Check] = {}
    for host in hosts.values():
        subject = f"{host.settings} ({host.name}:{host.port})"
        dns = Check(name="dns", subject=subject, look=host.resolve)
        tls = Check(name="tls", subject=subject, look=host.connect, needs=(dns,))
        health[host.base_url] = Check(name="health", subject=subject, look=host.ask_health, needs=(tls,))
        checks += [dns, tls, health[host.base_url]]
    checks.append(_clock(list(hosts.values()), tuple(health.values())))
    checks += _tenants(config, clock, sender, keyring, hosts, health)
    checks += _operators(config, clock, sender, keyring, health)
    checks.append(Check(name="redis", subject="REDIS_URL", look=partial(redis, config, clock)))
    checks.append(Check(name="data-dir", subject="GATEWAY_DATA_DIR", look=partial(data_dir, config)))
    name = "DATABASE_URL" if config.database_url is not None else "GATEWAY_DATA_DIR"
    checks.append(Check(name="database", subject=name, look=partial(database, config)))
    if config.tls is not None:
        checks.append(Check(name="own-tls", subject="GATEWAY_TLS_CERT_FILE", look=partial(own_tls, config.tls, clock)))
    for setting, listen in (("GATEWAY_LISTEN", config.listen), ("GATEWAY_ADMIN_LISTEN", config.admin_listen)):
        look = partial(listener, listen, setting, config, sender)
        checks.append(Check(name="listen", subject=setting, look=look))
    return checks


def _keys(config: Config, keyring: Keyring) -> list[Check]:
    checks: list[Check] = []
    for tenant in config.tenants:
        keys = keyring.tenant(tenant.keys.tenant_id)
        for source, secret in ((tenant.keys.hmac, keys.hmac), (tenant.keys.api_key, keys.api_key)):
            if source is not None and secret is not None:
                looks = told(key_checks.secret_shape(source, secret))
                checks.append(Check(name="key", subject=f"{keys.tenant_id}: {source.setting}", look=looks))
        if keys.hmac is not None and keys.hmac == keys.api_key:
            checks.append(Check(name="key", subject=keys.tenant_id, look=told(key_checks.TWICE_THE_SAME)))
    for operator in config.operators:
        source, key = operator.keys.signing_key, _launch_key(operator, keyring)
        if source is not None and key is not None:
            subject = f"{_named(operator)}: {source.setting}"
            checks.append(Check(name="key", subject=subject, look=told(key_checks.launch_key(source, key))))
    return checks


def _hosts(config: Config, clock: Clock, sender: Sender, trust: ssl.SSLContext) -> dict[str, Host]:
    """Every upstream host once, with the settings that name it; the socket's is not spoken to over HTTP alone."""
    named: dict[str, list[str]] = {}
    for tenant in config.tenants:
        for base_url, setting in (
            (tenant.ingestion_base_url, "INGESTION_BASE_URL"),
            (tenant.admin_base_url, "ADMIN_BASE_URL"),
            (tenant.query_base_url, "QUERY_BASE_URL"),
            (tenant.socket_base_url.replace("ws", "http", 1), "WEBSOCKET_URL"),
        ):
            named.setdefault(base_url, []).append(setting)
    for operator in config.operators:
        named.setdefault(operator.base_url, []).append("PREDICTION_BASE_URL")
    return {
        base_url: Host(
            base_url,
            list(dict.fromkeys(settings)),
            trust=trust,
            has_own_ca=config.upstream_ca_file is not None,
            sender=sender,
            clock=clock,
        )
        for base_url, settings in named.items()
    }


def _tenants(
    config: Config, clock: Clock, sender: Sender, keyring: Keyring, hosts: dict[str, Host], health: dict[str, Check]
) -> list[Check]:
    checks: list[Check] = []
    for tenant in config.tenants:
        admin, query, tenant_id = tenant.admin_base_url, tenant.query_base_url, tenant.keys.tenant_id
        looks = TenantChecks(
            tenant, admin=hosts[admin], query=hosts[query], keyring=keyring, sender=sender, clock=clock
        )
        at_admin, at_query = (health[admin],), (health[query],)
        checks += [
            Check(name="admin", subject=tenant_id, look=looks.admin_access, needs=at_admin),
            Check(name="hmac", subject=tenant_id, look=looks.hmac, needs=at_admin, after=at_query),
            Check(name="query", subject=tenant_id, look=looks.read, needs=at_query, after=at_admin),
        ]
    return checks


def _operators(config: Config, clock: Clock, sender: Sender, keyring: Keyring, health: dict[str, Check]) -> list[Check]:
    checks: list[Check] = []
    for operator in config.operators:
        key, needs, subject = _launch_key(operator, keyring), (health[operator.base_url],), _named(operator)
        platform = PlatformKeyCheck(operator, key, sender=sender, clock=clock)
        checks.append(Check(name="platform-key", subject=subject, look=platform.look, needs=needs))
        if key is not None:
            registered = key_checks.RegisteredKey(operator, key, sender=sender, clock=clock)
            checks.append(Check(name="operator-key", subject=subject, look=registered.look, needs=needs))
        checks.append(Check(name="operator-id", subject=subject, look=told(key_checks.operator_id(operator))))
    return checks


def _clock(hosts: Sequence[Host], health: tuple[Check, ...]) -> Check:
    async def look(deadline: Deadline) -> Verdict:
        return judge_clock(hosts)

    return Check(name="clock", subject="", look=look, after=health)


def _launch_key(operator: OperatorConfig, keyring: Keyring) -> SigningKey | None:
    return keyring.operator(operator.keys.operator_code, operator.keys.environment).signing_key


def _named(operator: OperatorConfig) -> str:
    return f"{operator.keys.operator_code}/{operator.keys.environment.value}"
