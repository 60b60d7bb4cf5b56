"""Reads how callers without a certificate of their own are identified: sockets, proxies, the development token.

callers.py reads what the callers may do. This module checks that at least one caller can call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.config.callers import is_identity
from gateway.config.faults import Faults, did_you_mean
from gateway.config.model import CallerSocket, Listen, TlsFiles
from gateway.config.values import Reader
from gateway.core.rights import LOCAL_CALLER, Access, Callers, Scope
from gateway.core.secret import Secret, SecretRefused
from gateway.core.secret_text import one_line
from gateway.keys.sources.secret_files import SecretSource

MAX_SOCKET_PATH_BYTES = 100
"""Kernels accept 104 or 108; this leaves some room."""
MIN_TOKEN_BYTES = 16


def read_sockets(reader: Reader, workers: int) -> tuple[CallerSocket, ...]:
    """Return the sockets of GATEWAY_SOCKETS: `caller=/path` with commas."""
    name = "GATEWAY_SOCKETS"
    found = reader.scope.get(name)
    sockets: list[CallerSocket] = []
    for part in [] if found is None else found.text.split(","):
        caller, equals, text = part.strip().partition("=")
        if not equals or not caller.strip() or not text.strip() or len(text.strip().encode()) > MAX_SOCKET_PATH_BYTES:
            remedy = "write caller=/path/of.sock, with commas between several; paths of at most 100 bytes"
            reader.fault(name, "is not a list of callers and their sockets", remedy)
            return ()
        assert found is not None
        sockets.append(CallerSocket(caller=caller.strip(), path=found.folder / Path(text.strip().replace("\0", "?"))))
    if sockets and workers > 1:
        problem = "is set together with several GATEWAY_WORKERS, which cannot share a socket"
        reader.fault(name, problem, "set GATEWAY_WORKERS to 1")
    if len({one.path for one in sockets}) != len(sockets):
        reader.fault(name, "names a socket twice", "each socket is one caller's")
    return tuple(sockets)


def read_trusted_proxies(reader: Reader, tls: TlsFiles | None) -> frozenset[str]:
    """Return the identities of GATEWAY_TRUSTED_PROXIES; none by default."""
    name = "GATEWAY_TRUSTED_PROXIES"
    text = reader.optional_text(name, max_chars=4096)
    proxies = frozenset((text or "").replace(",", " ").split())
    if not all(is_identity(one) for one in proxies):
        reader.fault(name, "is not a list of SPIFFE ids or DNS names", "write those of the proxies' certificates")
    if proxies and (tls is None or tls.client_ca_file is None):
        remedy = "set GATEWAY_TLS_CLIENT_CA_FILE, or leave it out"
        reader.fault(name, "is set, but proxies cannot prove their identity", remedy)
    return proxies


def read_dev_token(reader: Reader, listen: Listen, tls: TlsFiles | None) -> SecretSource | None:
    """Return the source of GATEWAY_DEV_TOKEN. It is only for loopback without certificates."""
    name = "GATEWAY_DEV_TOKEN"
    source = reader.secret_source(name)
    if source is None:
        return None
    if listen.socket_path is not None or not listen.is_local:
        reader.fault(name, "is for a loopback address only", "leave it out, and give callers certificates")
    elif tls is not None and tls.client_ca_file is not None:
        reader.fault(
            name, "is set together with GATEWAY_TLS_CLIENT_CA_FILE", "leave it out: certificates say who calls"
        )
    if (token := reader.secret(name)) is not None:
        try:
            check_dev_token(token)
        except SecretRefused as refusal:
            reader.faults.add(source.setting, str(refusal))
    return source


def check_dev_token(token: Secret) -> Secret:
    """Return the token if it is usable. Raises: SecretRefused."""
    one_line(token.reveal_text())
    if len(token.reveal()) < MIN_TOKEN_BYTES:
        raise SecretRefused(f"is shorter than {MIN_TOKEN_BYTES} bytes; make one with: openssl rand -hex 32")
    return token


def check_callers(
    callers: Callers,
    tls: TlsFiles | None,
    sockets: Sequence[CallerSocket],
    proxies: frozenset[str],
    faults: Faults,
) -> None:
    """Record a fault if nobody could call, or if a socket belongs to no caller.

    Certificates without a policy are a fault: without it, every certificate could do everything.
    """
    has_certificates = tls is not None and tls.client_ca_file is not None
    if has_certificates and not callers.is_configured:
        remedy = "write [[callers]] into the file that GATEWAY_CONFIG names; see docs/policy.md"
        faults.add("callers", "are missing while GATEWAY_TLS_CLIENT_CA_FILE is set, so nobody may do anything", remedy)
    elif not has_certificates and not sockets and LOCAL_CALLER not in callers.by_name:
        remedy = f'set GATEWAY_TLS_CLIENT_CA_FILE or GATEWAY_SOCKETS, or write a caller with the name "{LOCAL_CALLER}"'
        faults.add("callers", "all have certificates, but the gateway asks nobody for one", remedy)
    if not proxies.isdisjoint(callers.ids):
        problem = "names an identity that also belongs to a caller, which could then never call for itself"
        faults.add("GATEWAY_TRUSTED_PROXIES", problem, "remove it from the caller's ids")
    for socket in sockets:
        if socket.caller not in callers.by_name:
            hint = did_you_mean(socket.caller, callers.by_name)
            faults.add("GATEWAY_SOCKETS", "names a caller that the policy does not have", hint)


def warn_of_oddities(
    callers: Callers, access: Mapping[str, Access], sockets: Sequence[CallerSocket], faults: Faults
) -> None:
    """Warn of callers that nobody can be, and of rights that have no tenant or operator to apply to."""
    named = {*callers.ids.values(), *(socket.caller for socket in sockets), LOCAL_CALLER}
    for name, grant in callers.by_name.items():
        place = f'callers "{name}"'
        if name not in named:
            faults.warn(place, "has neither identities nor a socket, so nobody can use it", "write ids")
        scopes = {access[method].scope for method in grant.methods}
        has_tenants = grant.tenants is None or bool(grant.tenants)
        has_operators = grant.operators is None or bool(grant.operators)
        if Scope.TENANT in scopes and not has_tenants:
            faults.warn(place, "has rights that are about tenants, and no tenant", "write tenants")
        if Scope.OPERATOR in scopes and not has_operators:
            faults.warn(place, "has rights that are about operators, and no operator", "write operators")
        if Scope.TENANT_OR_OPERATOR in scopes and not (has_tenants or has_operators):
            faults.warn(place, "may call PhoenixService for no tenant and no operator", "write tenants or operators")
