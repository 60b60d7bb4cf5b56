"""Who is let in with a certificate, and by which name: attempts over real connections, the failing ones above all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import grpc
import pytest

from tests.certificates import Authority, Pair
from tests.gateway_process import GatewayProcess
from tests.integration.identity_calls import POLICY, counted, forwarded, health, listed, owners, shown
from tests.policy_setup import PolicySetup, identity, start_policy_setup

pytestmark = pytest.mark.timeout(180)  # gateways are started, on a machine that may be busy


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySetup]:
    with start_policy_setup(tmp_path_factory.mktemp("identity")) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(setup: PolicySetup) -> Iterator[GatewayProcess]:
    """A gateway that takes `reader` and `other`, and believes one proxy."""
    with setup.gateway(POLICY, {"GATEWAY_TRUSTED_PROXIES": identity("proxy")}) as process:
        yield process


@pytest.mark.parametrize(
    "names",
    [
        [identity("reader")],
        ["reader.test.internal"],
        ["READER.test.internal"],
        ["spiffe://elsewhere.internal/x", "reader.test.internal"],
        [identity("reader"), "nobody.test.internal"],
        [identity("reader"), "reader.test.internal"],
    ],
    ids=["spiffe id", "dns name", "dns name in capitals", "first name unknown", "second name unknown", "both names"],
)
def test_a_name_of_the_policy_is_its_caller(setup: PolicySetup, gateway: GatewayProcess, names: list[str]) -> None:
    """The SPIFFE id first, then the DNS names; whichever the policy knows."""
    with setup.channel(gateway, *names) as channel:
        assert {"one"} == owners(channel)  # as the reader sees it; the other one sees nothing


@pytest.mark.parametrize(
    "names",
    [
        [identity("stranger")],
        ["stranger.test.internal"],
        [identity("reader"), "other.test.internal"],
        [identity("reader/more")],
        ["*.test.internal"],
    ],
    ids=["unknown spiffe id", "unknown dns name", "names of two callers", "longer spiffe id", "wildcard"],
)
def test_a_wrong_name_is_no_caller(setup: PolicySetup, gateway: GatewayProcess, names: list[str]) -> None:
    """A certificate of the right CA gives no right."""
    with setup.channel(gateway, *names) as channel:
        assert "NOT_ALLOWED" == listed(channel)


@pytest.mark.parametrize("names", [["10.1.2.3"], [identity("reader"), identity("other")]], ids=["address", "two ids"])
def test_a_certificate_without_a_usable_name_is_refused(
    setup: PolicySetup, gateway: GatewayProcess, names: list[str]
) -> None:
    """An IP address names no caller, and two URIs are not a SPIFFE certificate. Even the health service refuses."""
    with setup.channel(gateway, *names) as channel:
        assert ("NOT_ALLOWED", "PERMISSION_DENIED") == (listed(channel), health(channel))


def wrong_pairs(setup: PolicySetup) -> dict[str, Pair | None]:
    ours = setup.authority
    return {
        "no certificate": None,
        "of another CA": Authority().issue(identity("reader")),
        "of another CA of the same name": Authority("Test CA").issue(identity("reader")),
        "expired": ours.issue(identity("reader"), begins=timedelta(days=-2), ends=timedelta(seconds=-5)),
        "of a server": ours.issue(identity("reader"), for_clients=False),
        "not valid yet": ours.issue(identity("reader"), begins=timedelta(hours=1), ends=timedelta(hours=2)),
    }


WRONG_PAIRS = (
    *("no certificate", "of another CA", "of another CA of the same name"),
    *("of a server", "expired", "not valid yet"),
)


@pytest.mark.parametrize("kind", WRONG_PAIRS)
def test_a_wrong_certificate_does_not_get_past_the_handshake(
    setup: PolicySetup, gateway: GatewayProcess, kind: str
) -> None:
    """No call arrives: not even health."""
    calls = counted(gateway, "calls_total")
    with grpc.secure_channel(gateway.address, shown(setup, wrong_pairs(setup)[kind])) as channel:
        assert "UNAVAILABLE" == health(channel)
    assert calls == counted(gateway, "calls_total")


def test_plaintext_is_refused_where_certificates_are_asked_for(gateway: GatewayProcess) -> None:
    """A client without TLS gets no answer."""
    with grpc.insecure_channel(gateway.address) as channel:
        assert "UNAVAILABLE" == health(channel)


def test_a_client_finds_out_a_gateway_of_another_ca(setup: PolicySetup, gateway: GatewayProcess) -> None:
    """The gateway's own certificate is the client's to check."""
    credentials = shown(setup, setup.authority.issue(identity("reader")), Authority())
    with grpc.secure_channel(gateway.address, credentials) as channel:
        assert "UNAVAILABLE" == health(channel)


def test_a_header_names_a_caller_only_from_a_trusted_proxy(setup: PolicySetup, gateway: GatewayProcess) -> None:
    """A stranger with a certificate does not become the reader by saying so."""
    says = forwarded(f"URI={identity('reader')}")
    with setup.channel(gateway, identity("stranger")) as channel:
        assert "NOT_ALLOWED" == listed(channel, **says)
    with setup.channel(gateway, identity("proxy")) as channel:
        assert "OK" == listed(channel, **says)


@pytest.mark.parametrize(
    "header",
    ["", f"URI={identity('stranger')}", f"URI={identity('reader')},URI={identity('stranger')}",
     f'Subject="URI={identity("reader")}"', f'URI="{identity("reader")}'],
    ids=["none", "a stranger", "another's before the proxy's own", "inside a quoted value", "cut off"],
)  # fmt: skip
def test_a_proxy_is_not_its_clients(setup: PolicySetup, gateway: GatewayProcess, header: str) -> None:
    """The identity is that of the last client in the header. The proxy itself is not a caller."""
    with setup.channel(gateway, identity("proxy")) as channel:
        assert "NOT_ALLOWED" == listed(channel, **(forwarded(header) if header else {}))


def test_a_proxy_may_ask_for_health_for_itself(setup: PolicySetup, gateway: GatewayProcess) -> None:
    """Without the header, for its list of healthy members. One that cannot be read is refused."""
    with setup.channel(gateway, identity("proxy")) as channel:
        assert ("OK", "NOT_ALLOWED") == (health(channel), listed(channel))
        assert "PERMISSION_DENIED" == health(channel, **forwarded("garbage"))


def test_of_repeated_headers_the_last_names_the_caller(setup: PolicySetup, gateway: GatewayProcess) -> None:
    """A proxy that adds its own line to those of its client adds it behind them."""
    reader, stranger = (("x-forwarded-client-cert", f"URI={identity(name)}") for name in ("reader", "stranger"))
    with setup.channel(gateway, identity("proxy")) as channel:
        assert "OK" == listed(channel, metadata=(stranger, reader))
        assert "NOT_ALLOWED" == listed(channel, metadata=(reader, stranger))


def test_keys_are_listed_for_the_callers_own_alone(setup: PolicySetup, gateway: GatewayProcess) -> None:
    """One caller sees the keys of its tenant. The other, without a tenant, sees none."""
    found = {}
    for name in ("reader", "other"):
        with setup.channel(gateway, identity(name)) as channel:
            found[name] = owners(channel)
    assert {"reader": {"one"}, "other": set()} == found
