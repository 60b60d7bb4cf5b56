"""Finds out why no connection to the gateway was made, by making one with the standard library.

gRPC says no more than UNAVAILABLE, in words that differ by version; OpenSSL and the socket name the cause. It runs only
after a call failed, and takes at most a few seconds.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from typing import NamedTuple

from phoenix_gateway_client import errors
from phoenix_gateway_client.tls import Tls, context

WITHIN_S = 2.0
_SETTLED_S = 0.1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""The first bytes of an HTTP/2 client: the preface and empty SETTINGS."""
_SETTINGS, _TLS_ALERT = 4, 0x15
_HOST_NAME = (62, 64)
_EXPIRED, _NOT_YET = 10, 9


class Address(NamedTuple):
    """Where a target is: a host and port, or the path of a Unix socket."""

    host: str
    port: int
    path: str = ""


def address_of(target: str) -> Address | None:
    """Return the address of a gRPC target; None for a form that this module cannot call, such as xds."""
    if target.startswith("unix:"):
        path = target.removeprefix("unix:")
        return Address("", 0, path.removeprefix("//") if path.startswith("///") else path)
    found = re.fullmatch(r"(?:(?:dns|ipv4|ipv6):(?:///?)?)?(?:\[([^\]]+)\]|([^\[\]:/,]+)):(\d+)", target)
    return None if found is None else Address(found[1] or found[2], int(found[3]))


def diagnose(target: str, tls: Tls | None, details: str = "") -> errors.NotConnected:
    """Return the cause as an exception. If the gateway answers, the connection was lost. `details`: those of gRPC."""
    lost = errors.ConnectionLost(
        f"The connection to {target} was lost ({details or 'no details'}), and the gateway can be reached now. Repeat "
        "the call; repeat a change only under the same id."
    )
    address = address_of(target)
    if address is None:
        return lost
    try:
        with _connected(address) as opened:
            cause = _over_tls(target, address, opened, tls) if tls is not None else _plain(target, opened)
        if cause is not None:
            # A process that was killed at that moment closes what it had accepted; now it refuses connections.
            time.sleep(_SETTLED_S)
            _connected(address).close()
        return cause or lost
    except errors.NotConnected as known:
        return known
    except socket.gaierror:
        return errors.GatewayUnreachable(
            f"The name {address.host} is unknown here. Check the address {target} and DNS."
        )
    except (TimeoutError, socket.timeout):  # noqa: UP041 - two until Python 3.10
        return errors.GatewayUnreachable(
            f"{target} does not answer within {WITHIN_S:g} s. Check the address, and firewalls on the way."
        )
    except OSError as error:
        return errors.GatewayUnreachable(
            f"{target} accepts no connection ({error.strerror or type(error).__name__}). Check the address, and "
            "whether the gateway runs."
        )


def _connected(address: Address) -> socket.socket:
    if not address.path:
        return socket.create_connection((address.host, address.port), WITHIN_S)
    opened = socket.socket(socket.AF_UNIX)
    opened.settimeout(WITHIN_S)
    try:
        opened.connect(address.path)
    except BaseException:
        opened.close()
        raise
    return opened


def _plain(target: str, opened: socket.socket) -> errors.NotConnected | None:
    try:
        opened.sendall(_PREFACE)
        answer = opened.recv(9)
    except ConnectionError:
        answer = b""
    if len(answer) > 3 and answer[3] == _SETTINGS:
        return None
    if not answer or answer[0] == _TLS_ALERT:
        return errors.TlsExpected(
            f"{target} closes connections without TLS. Give tls=Tls(ca_file=..., cert_file=..., key_file=...)."
        )
    return errors.GatewayUnreachable(f"{target} is not a gateway: it does not speak HTTP/2. Check the port.")


def _over_tls(target: str, address: Address, opened: socket.socket, tls: Tls) -> errors.NotConnected | None:
    name = tls.server_name or address.host or "localhost"
    try:
        with context(tls).wrap_socket(opened, server_hostname=name) as secured:
            secured.sendall(_PREFACE)
            answer = secured.recv(9)
    except ssl.SSLCertVerificationError as error:
        return _not_verified(target, name, tls, error)
    except ssl.SSLError as error:
        return _refused(target, tls, str(error.reason or ""))
    except ConnectionError:
        answer = b""
    return None if answer else _refused(target, tls, "")


def _not_verified(target: str, name: str, tls: Tls, error: ssl.SSLCertVerificationError) -> errors.NotConnected:
    if error.verify_code in _HOST_NAME:
        return errors.WrongHostName(
            f"The certificate of {target} is not for the name {name}. Call the gateway by a name in its certificate, "
            "or give this name as Tls(server_name=...)."
        )
    if error.verify_code in (_EXPIRED, _NOT_YET):
        return errors.GatewayNotTrusted(
            f"The certificate of {target} is {'expired' if error.verify_code == _EXPIRED else 'not valid yet'}. Have "
            "it renewed, and check this machine's clock."
        )
    return errors.GatewayNotTrusted(
        f"{tls.paths[0]} did not sign the certificate of {target} ({error.verify_message}). Get the current CA of the "
        "gateway: this file may be older than the certificate."
    )


def _refused(target: str, tls: Tls, alert: str) -> errors.NotConnected:
    if "WRONG_VERSION_NUMBER" in alert or "RECORD_LAYER" in alert or "HTTP_REQUEST" in alert:
        return errors.TlsUnexpected(f"{target} does not speak TLS. Call it without tls, or check the port.")
    if tls.cert_file is None:
        return errors.ClientCertificateRequired(
            f"{target} accepts only callers with a certificate. Give Tls(cert_file=..., key_file=...)."
        )
    return errors.ClientCertificateRefused(
        f"{target} refuses the certificate {tls.paths[1]}{f' ({alert})' if alert else ''}. Check that it is not "
        "expired, is made for clients, and is signed by the CA that the gateway trusts for callers."
    )
