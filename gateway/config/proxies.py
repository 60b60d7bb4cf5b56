"""Refuses HTTP proxies of the environment that would apply to Phoenix: the gateway connects to it directly.

A request through a proxy could be answered by the proxy, and a call that moved money must not be answered by anyone
else. A variable that is ignored in silence would look like a network that is down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from gateway.config.faults import Faults
from gateway.config.model import OperatorConfig, TenantConfig, is_loopback

_NAMES = ("https_proxy", "all_proxy")
"""In either case."""
_TLS_PORT = 443
_PLAINTEXT = "http_proxy"
"""Applies to plaintext, which the gateway speaks on loopback only: no reason not to start."""


def check_proxies(
    environ: Mapping[str, str],
    tenants: Sequence[TenantConfig],
    operators: Sequence[OperatorConfig],
    faults: Faults,
) -> None:
    """Record a fault for each proxy variable that covers a host of Phoenix and that NO_PROXY does not exclude.

    HTTP_PROXY covers none, so it is a warning.
    """
    urls = [url for one in tenants for url in (one.ingestion_base_url, one.admin_base_url, one.query_base_url)]
    urls += [one.socket_base_url for one in tenants] + [one.base_url for one in operators]
    excluded = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").replace(",", " ").lower().split()
    hosts = sorted({(parts.hostname or "", parts.port or _TLS_PORT) for parts in map(urlsplit, urls)})
    covered = [host for host, port in hosts if not is_loopback(host) and not _is_excluded(host, port, excluded)]
    direct = list(dict.fromkeys(covered))
    if not direct:
        return
    remedy = f"add {','.join(direct)} to NO_PROXY, or unset"
    for shown in (_PLAINTEXT, _PLAINTEXT.upper()):
        if environ.get(shown):
            faults.warn(
                shown,
                "is not used: the gateway connects to Phoenix directly, and without TLS on loopback only",
                f"{remedy} {shown} for the gateway",
            )
    for name in _NAMES:
        for shown in (name, name.upper()):
            if environ.get(shown):
                faults.add(
                    shown,
                    "is set, but the gateway connects to Phoenix directly and never through a proxy",
                    f"{remedy} {shown} for the gateway",
                )


def _is_excluded(host: str, port: int, excluded: Sequence[str]) -> bool:
    """Tell whether NO_PROXY covers the host: `*`, its name, or a domain that it is in, with or without a dot before.

    An entry may end in a port, as curl and Go read it.
    """
    names = (one.removesuffix(f":{port}").lstrip("*").lstrip(".") for one in excluded)
    return "*" in excluded or any(f".{host}".endswith("." + name) for name in names)
