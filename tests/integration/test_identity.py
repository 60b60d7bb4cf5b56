"""Who is let in, and by which name: attempts over real connections, the failing ones above all."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.v1 import keys_pb2, keys_pb2_grpc
from tests.certificates import Authority, Pair
from tests.gateway_command import gateway_command
from tests.gateway_process import FRONT, GatewayProcess, reason_of
from tests.policy_setup import SERVER_NAMES, PolicySetup, caller, identity, start_policy_setup

pytestmark = pytest.mark.timeout(180)  # gateways are started, on a machine that may be busy
READER = caller(
    "reader", ids=[identity("reader"), "reader.test.internal"], allow=["keys.read"], tenants=["one"], reflection=True
)
OTHER = caller("other", ids=[identity("other"), "other.test.internal"], allow=["keys.read"])
POLICY = READER + OTHER


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySetup]:
    with start_policy_setup(tmp_path_factory.mktemp("identity")) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(setup: PolicySetup) -> Iterator[GatewayProcess]:
    """A gateway that takes `reader` and `other`, and believes one proxy."""
    with setup.gateway(POLICY, {"GATEWAY_TRUSTED_PROXIES": identity("proxy")}) as process:
        yield process


def listed(channel: grpc.Channel, **options: Any) -> str:
    """Ask for the keys; return the reason of the refusal, "OK" without one."""
    try:
        keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=10, **options)
    except grpc.RpcError as error:
        return reason_of(error) or error.code().name
    return "OK"


def owners(channel: grpc.Channel) -> set[str]:
    """Return whose keys are listed."""
    answer = keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=10)
    return {key.owner for key in answer.keys}


def health(channel: grpc.Channel, **options: Any) -> str:
    """Ask for the health; return the status code's name. With `wait_for_ready` the gateway may still be starting."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        stub.Check(health_pb2.HealthCheckRequest(), timeout=60 if options.get("wait_for_ready") else 15, **options)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


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


def shown(setup: PolicySetup, pair: Pair | None, trusted: Authority | None = None) -> grpc.ChannelCredentials:
    """Credentials of a client who trusts the gateway's CA, or another one."""
    own = (trusted or setup.authority).certificate
    return grpc.ssl_channel_credentials(own, pair.key if pair else None, pair.certificate if pair else None)


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


PLAINTEXT = {"GATEWAY_LISTEN": "0.0.0.0:0"}


def test_plaintext_on_a_public_address_is_no_start(setup: PolicySetup) -> None:
    """The process ends at once and names the setting."""
    gateway = GatewayProcess({**PLAINTEXT, "GATEWAY_CONFIG": str(setup.policy_file("", "public.toml"))})
    assert 2 == gateway.spawn().wait(timeout=60)
    assert "GATEWAY_LISTEN: is plaintext on an address that others reach" in gateway.log_text


def test_certificates_without_a_policy_are_no_start(setup: PolicySetup) -> None:
    """Certificates without a policy must not open everything to every caller."""
    problem = "callers: are missing while GATEWAY_TLS_CLIENT_CA_FILE is set"
    with pytest.raises(RuntimeError, match=problem), setup.gateway("", name="without.toml"):
        pass


def test_a_policy_of_unknown_names_is_no_start_and_names_all(setup: PolicySetup) -> None:
    """Check method, right, tenant, operator and role, and the caller of a socket, each by its own rule."""
    policy = caller(
        "reader", allow=["keys.reed", "KeyService/ListLocks"], tenants=["three"], operators=["acme/test"], roles=["r"]
    )
    places = (
        *("callers[0].allow[0]", "callers[0].allow[1]", "callers[0].tenants[0]", "callers[0].operators[0]"),
        *("callers[0].roles[0]", "GATEWAY_SOCKETS"),
    )
    settings = {"GATEWAY_SOCKETS": "writer=writer.sock"}
    with pytest.raises(RuntimeError) as refused, setup.gateway(policy, settings, name="unknown.toml"):
        pass
    assert [] == [one for one in places if f"{one}: " not in str(refused.value)]


def forwarded(value: str) -> dict[str, Any]:
    return {"metadata": (("x-forwarded-client-cert", value),)}


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


def plain(setup: PolicySetup, name: str, policy: str, **settings: str) -> GatewayProcess:
    """A gateway on loopback without TLS, not started yet."""
    return GatewayProcess({"GATEWAY_CONFIG": str(setup.policy_file(policy, name)), **settings})


def test_each_socket_is_one_caller(setup: PolicySetup, tmp_path: Path) -> None:
    """Every process that can open it is that caller. Its mode is 0600 in a 0700 directory. Plaintext TCP is refused."""
    folder = tmp_path / "run"
    sockets = f"reader={folder}/reader.sock, idle={folder}/idle.sock"
    policy = POLICY + caller("idle")
    gateway = plain(setup, "sockets.toml", policy, GATEWAY_SOCKETS=sockets)
    gateway.spawn()
    try:
        came = {}
        for name in ("reader", "idle"):
            with grpc.insecure_channel(f"unix:{folder}/{name}.sock") as channel:
                came[name] = (health(channel, wait_for_ready=True), listed(channel))
        with grpc.insecure_channel(gateway.address) as channel:
            came["tcp"] = (health(channel), listed(channel))
        modes = [oct((folder / name).stat().st_mode & 0o777) for name in (".", "reader.sock", "idle.sock")]
    finally:
        gateway.stop()
    assert {"reader": ("OK", "OK"), "idle": ("OK", "NOT_ALLOWED"), "tcp": ("PERMISSION_DENIED", "NOT_ALLOWED")} == came
    assert ["0o700", "0o600", "0o600"] == modes


def test_a_socket_in_a_directory_of_others_is_no_start(setup: PolicySetup, tmp_path: Path) -> None:
    """The mode of the socket cannot stop another user from replacing it."""
    tmp_path.chmod(0o755)
    gateway = plain(setup, "open.toml", POLICY, GATEWAY_SOCKETS=f"reader={tmp_path}/reader.sock")
    assert 1 == gateway.spawn().wait(timeout=60)
    assert "other users can reach its directory" in gateway.log_text


def test_a_listening_socket_is_private_and_its_caller_is_local(setup: PolicySetup, tmp_path: Path) -> None:
    """GATEWAY_LISTEN on a socket, too."""
    gateway = plain(
        setup, "local.toml", caller("local", ids=[], allow=["keys.read"]), GATEWAY_LISTEN=f"unix:{tmp_path}/run/g.sock"
    )
    gateway.spawn()
    try:
        with grpc.insecure_channel(f"unix:{tmp_path}/run/g.sock") as channel:
            assert ("OK", "OK") == (health(channel, wait_for_ready=True), listed(channel))
        assert 0o600 == (tmp_path / "run" / "g.sock").stat().st_mode & 0o777
    finally:
        gateway.stop()


def test_the_development_token_is_asked_for(setup: PolicySetup) -> None:
    """Without the token, or with a wrong one, even the health service refuses. The token is not in the log."""
    token = "development-token-4f1dd27c"
    gateway = plain(setup, "token.toml", "", GATEWAY_DEV_TOKEN=token)
    gateway.spawn()
    try:
        with grpc.insecure_channel(gateway.address) as channel:
            right = {"metadata": (("authorization", f"Bearer {token}"),)}
            assert "OK" == health(channel, wait_for_ready=True, **right)
            assert "OK" == listed(channel, **right)
            wrong: list[dict[str, Any]] = [{}] + [
                {"metadata": (("authorization", value),)}
                for value in (f"Bearer {token}x", f"Basic {token}", "Bearer", token)
            ]
            assert ["PERMISSION_DENIED"] * 5 == [health(channel, **one) for one in wrong]
            # RFC 9113, 8.2.1: a value that ends with a blank is malformed, and its stream is reset; grpc takes it.
            blank = "INTERNAL" if FRONT == "http2" else "PERMISSION_DENIED"
            assert blank == health(channel, metadata=(("authorization", "Bearer "),))
        assert token not in gateway.log_text
    finally:
        gateway.stop()


def test_a_gateway_without_a_policy_says_so_at_its_start(setup: PolicySetup) -> None:
    """Development on loopback works with a warning."""
    with plain(setup, "none.toml", "") as gateway, grpc.insecure_channel(gateway.address) as channel:
        assert "OK" == listed(channel)
        assert "no policy: every process on this machine may do everything" in gateway.log_text


def test_a_renewed_certificate_is_met_by_new_connections_and_drops_no_old_one(setup: PolicySetup) -> None:
    """The pair is replaced file by file; while the two do not fit the old one stays, and is counted as refused."""
    with setup.gateway(POLICY, name="renewed.toml") as gateway:
        folder = setup.folder / "renewed"
        old, new = served_serial(setup, gateway), setup.authority.issue(*SERVER_NAMES)
        with setup.channel(gateway, identity("reader")) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=50)
            next(watching)
            (folder / "server.pem").write_bytes(new.certificate)
            assert old == served_serial(setup, gateway)
            assert 1 <= counted(gateway, 'secret_file_events_total{event="refused"}')
            new.write(folder, "server")
            assert old != served_serial(setup, gateway)
            assert "OK" == listed(channel)
            assert watching.is_active()  # on the connection of before
            watching.cancel()
        expired = setup.authority.issue(*SERVER_NAMES, begins=timedelta(days=-2), ends=timedelta(days=-1))
        current = served_serial(setup, gateway)
        expired.write(folder, "server")
        assert current == served_serial(setup, gateway)


def test_a_changed_authority_is_asked_of_new_connections(setup: PolicySetup) -> None:
    """Callers of the old CA are not let in any more once the file holds another one."""
    with setup.gateway(POLICY, name="authority.toml") as gateway:
        second = Authority("Second CA")
        (setup.folder / "authority" / "ca.pem").write_bytes(second.certificate)
        pair = second.issue(identity("reader"))
        with grpc.secure_channel(gateway.address, shown(setup, pair)) as channel:
            assert "OK" == listed(channel)
        with setup.channel(gateway, identity("reader")) as channel:
            assert "UNAVAILABLE" == health(channel)


def served_serial(setup: PolicySetup, gateway: GatewayProcess) -> str:
    """Return the serial number of the certificate that a new connection meets."""
    pair = setup.authority.issue(identity("reader"))
    certificate, key = pair.write(setup.folder / "client", "serial")
    context = ssl.create_default_context(cadata=setup.authority.certificate.decode())
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    host, _, port = gateway.address.rpartition(":")
    raw = socket.create_connection((host, int(port)), timeout=10)
    with context.wrap_socket(raw, server_hostname="localhost") as wrapped:
        found: Any = wrapped.getpeercert()
        return str(found["serialNumber"])


def counted(gateway: GatewayProcess, sample: str) -> float:
    """Return the sum of the samples that begin so in the gateway's metrics."""
    with build_opener(ProxyHandler({})).open(f"http://{gateway.admin_address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"phoenix_gateway_{sample}")]
    assert found, f"no sample {sample}"
    return sum(found)


def test_commands_show_the_token_of_the_environment(setup: PolicySetup) -> None:
    """Only on loopback. Without a policy, the log says what to do."""
    token = "development-token-4f1dd27c"
    gateway = plain(setup, "command.toml", "", GATEWAY_DEV_TOKEN=token)
    gateway.spawn()
    try:
        with grpc.insecure_channel(gateway.address) as channel:
            assert "PERMISSION_DENIED" == health(channel, wait_for_ready=True)
        done = {}
        for name, environ in {"with": {"GATEWAY_DEV_TOKEN": token}, "without": {}}.items():
            done[name] = command(["keys", "list", "--target", gateway.address, "--json"], environ)
        assert (0, True) == (done["with"].returncode, '"owner": "one"' in done["with"].stdout)
        assert (1, True) == (done["without"].returncode, "Show the development token" in done["without"].stderr)
    finally:
        gateway.stop()


def test_a_smoke_run_needs_no_callers_certificate(setup: PolicySetup, tmp_path: Path) -> None:
    """The settings of a gateway in service, with its policy and TLS, are tried by one that is not open."""
    certificate, key = setup.authority.issue(*SERVER_NAMES).write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(setup.authority.certificate)
    tls = {"cert": certificate, "key": key, "client_ca": tmp_path / "ca.pem"}
    policy = setup.policy_file(caller("game", allow=["tokens.*"], tenants=["one"], operators=["*"]), "smoke.toml")
    named = "".join(f'gateway_tls_{name}_file = "{path}"\n' for name, path in tls.items())
    policy.write_text(named + policy.read_text())
    arguments = ["smoke", "--config", str(policy), "--tenant", "one", "--operator", "zeta", "--environment", "sandbox"]
    done = command(
        arguments, {"GATEWAY_SOCKETS": "game=/nonexistent/game.sock", "DATABASE_URL": "postgresql://x@[::1]/x"}
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def command(arguments: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of ours away from any `.env`."""
    return gateway_command(*arguments, environ={"NO_COLOR": "1", **environ}, folder=Path("/"), timeout_s=120)
