"""Phoenix's hosts without credentials: the name, the connection and its certificate, the health route, the clock.

`phoenix_checks.py` checks credentials. Source: gamification.md 1.1, 2.1; prediction.md 1.3.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.core.clock_skew import MOST_SKEW_S, skew_of_date
from gateway.doctor.report import Result, fault, ok, warning
from gateway.phoenix.http_types import Answer, ExchangeFailed, Request, Sender
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.worker_thread import WorkerThread

WARN_SKEW_S = 30.0
WARN_CERTIFICATE_DAYS = 14
MAX_HEALTH_BYTES = 64 * 1024
_UNTRUSTED = frozenset({18, 19, 20, 21})  # OpenSSL: self-signed, or an issuer that is not there
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = frozenset({62, 64})


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthAnswer:
    """The answer to GET /health without credentials, and our wall clock before and after it."""

    answer: Answer
    sent_at: float
    received_at: float


class Host:
    """One base URL, and the settings that name it."""

    def __init__(
        self,
        base_url: str,
        settings: Sequence[str],
        *,
        trust: ssl.SSLContext,
        has_own_ca: bool,
        sender: Sender,
        clock: Clock,
    ) -> None:
        """Check `base_url` (scheme, host, port). `trust` verifies its certificate."""
        parts = urlsplit(base_url)
        self.base_url = base_url
        self.settings = ", ".join(settings)
        self.is_tls = parts.scheme == "https"
        self.name = parts.hostname or ""
        self.port = parts.port or (443 if self.is_tls else 80)
        self.health: HealthAnswer | None = None
        self._trust = trust
        self._has_own_ca = has_own_ca
        self._sender = sender
        self._clock = clock

    @property
    def answers_to_anyone(self) -> bool:
        """Whether /health answered 2xx without credentials. Then a 2xx with credentials proves nothing."""
        return self.health is not None and 200 <= self.health.answer.status < 300

    async def resolve(self, deadline: Deadline) -> Result:
        """Look up the host name."""
        try:
            ipaddress.ip_address(self.name)
        except ValueError:
            pass
        else:
            return ok("is an IP address; there is no name to look up")
        # A thread of its own that nothing waits for: a resolver that hangs must not keep the doctor from ending.
        thread = WorkerThread("doctor-dns")
        try:
            infos = await thread.run(lambda: socket.getaddrinfo(self.name, self.port, type=socket.SOCK_STREAM))
        except socket.gaierror as error:
            return fault(
                f"the name cannot be looked up ({error.strerror})",
                f"check the host in {self.settings}, and this machine's resolver",
            )
        except UnicodeError:
            return fault("is not a host name", f"correct {self.settings}")
        await thread.stop(0.1)
        addresses = sorted({str(info[4][0]) for info in infos})
        more = f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""
        return ok(f"{', '.join(addresses[:3])}{more}")

    async def connect(self, deadline: Deadline) -> Result:
        """Connect, verify the certificate as the gateway does, and check how long it is still valid."""
        context = self._trust if self.is_tls else None
        try:
            _, writer = await asyncio.open_connection(
                self.name, self.port, ssl=context, server_hostname=self.name if context is not None else None
            )
        except ssl.SSLCertVerificationError as error:
            return self._certificate_refused(error.verify_code)
        except ssl.SSLError:
            return fault("the server does not speak TLS on this port", f"check scheme and port of {self.settings}")
        except OSError as error:
            why = error.strerror if error.errno is not None and error.errno > 0 else None
            return fault(
                f"no connection to port {self.port} ({why or type(error).__name__})",
                f"check {self.settings}, the firewall, and whether Phoenix is up",
            )
        try:
            certificate = writer.get_extra_info("peercert")
        finally:
            writer.transport.abort()
        if context is None:
            return ok("connected in plaintext, which is safe on this machine only")
        days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - self._clock.now()) / 86_400
        if days < WARN_CERTIFICATE_DAYS:
            return warning(
                f"TLS verified; the certificate expires in {days:.1f} days",
                "Phoenix has to renew it: ask Phoenix when it will",
            )
        return ok(f"TLS verified; the certificate is valid for {int(days)} more days")

    async def ask_health(self, deadline: Deadline) -> Result:
        """GET /health without credentials."""
        request = Request(method="GET", url_base=self.base_url, raw_path="/health", headers={"accept": "*/*"})
        sent_at = self._clock.now()
        try:
            answer = await self._sender.send(request, deadline, MAX_HEALTH_BYTES)
        except ExchangeFailed as failure:
            return fault(f"GET /health: {failure}", f"is this the host of {self.settings}, and is Phoenix up?")
        self.health = HealthAnswer(answer=answer, sent_at=sent_at, received_at=self._clock.now())
        match answer.status:
            case status if 200 <= status < 300:
                return ok(f"GET /health: {status}")
            case 401 | 403 as status:
                return ok(f"GET /health: {status}; the host answers and asks for credentials")
            case status if 300 <= status < 400:
                return fault(
                    f"GET /health: {status}, a redirect, which is never followed",
                    f"set {self.settings} to the host that it leads to",
                )
            case status if status >= 500:
                return fault(
                    f"GET /health: {status}", "Phoenix has a problem: check its status page, or ask its support"
                )
            case status:
                return warning(f"GET /health: {status}", f"check that {self.settings} names the right host")

    def _certificate_refused(self, code: int) -> Result:
        if code == _EXPIRED:
            return fault(
                "its certificate has expired",
                "check this machine's clock first; if it is right, Phoenix has to renew the certificate",
            )
        if code == _NOT_YET_VALID:
            return fault("its certificate is not valid yet", "check this machine's clock")
        if code in _OTHER_NAME:
            return fault("its certificate is for another host", f"check the host in {self.settings}")
        if code in _UNTRUSTED and self._has_own_ca:
            return fault(
                "its certificate was issued by an authority that this gateway does not trust",
                "GATEWAY_UPSTREAM_CA_FILE holds a different CA from the one that issued it: use the right CA",
            )
        if code in _UNTRUSTED:
            return fault(
                "its certificate was issued by an authority that this gateway does not trust",
                "if a proxy or a private CA is expected here, set GATEWAY_UPSTREAM_CA_FILE to its CA; "
                "if not, another server is intercepting the connection",
            )
        return fault(f"its certificate is refused (OpenSSL code {code})", "ask Phoenix, or the owner of the proxy")


def judge_clock(hosts: Sequence[Host]) -> Result:
    """Compare our wall clock with the `Date` headers of the health answers. The largest difference counts."""
    skews = [(skew, host) for host in hosts if (skew := _skew_s(host.health)) is not None]
    if not skews:
        return warning("no answer of Phoenix had a Date header to compare with", "check that NTP runs on this machine")
    skew, host = max(skews, key=lambda each: abs(each[0]))
    if abs(skew) < WARN_SKEW_S:
        return ok(f"within {max(1, round(abs(skew)))} s of Phoenix's clock")
    what = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the Date header of {host.name}"
    fix = "set this machine's clock by NTP (chrony, systemd-timesyncd): Phoenix refuses signatures that are 300 s off"
    return fault(what, fix) if abs(skew) > MOST_SKEW_S else warning(what, fix)


def _skew_s(health: HealthAnswer | None) -> float | None:
    """Return by how many seconds our clock is certainly ahead (negative: behind), or None without a readable Date."""
    if health is None:
        return None
    return skew_of_date(health.answer.headers, health.sent_at, health.received_at)
