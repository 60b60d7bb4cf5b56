"""Start and stop: options, faults listed at once, secrets untold, TLS, ready file, exit codes."""

import datetime
import ipaddress
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.sandbox.options import OptionsInvalid, read_options
from tests.sandbox_process import ROOT, SandboxProcess, fresh_secrets


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_at_once_with_exit_0(number: signal.Signals) -> None:
    """Also while a call hangs; nothing is on stderr."""
    process = SandboxProcess().start()
    process.control("POST", "/faults", {"surface": "query", "kind": "hang"})
    host, _, port = process.urls["query"].removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as hanging:
        hanging.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        until = time.monotonic() + 10
        while not process.control("GET", "/counts")["counts"] and time.monotonic() < until:
            time.sleep(0.01)
        log = process.log_path
        began = time.monotonic()
        process._process.send_signal(number)  # type: ignore[union-attr]
        code = process._process.wait(10)  # type: ignore[union-attr]
        assert (0, "") == (code, log.read_text())
        assert time.monotonic() - began < 2
    process.stop()


def test_ready_line_and_file_say_the_same(tmp_path: Path) -> None:
    """One JSON line on stdout, the same in the file, with a URL for every surface."""
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.sandbox", "--ready-file", str(ready)],
        cwd=ROOT,
        env=fresh_secrets(),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        assert line == json.loads(ready.read_text())
        surfaces = {"ingestion", "admin", "query", "websocket", "prediction", "embed", "control"}
        assert ({"ready", "pid"} | surfaces, process.pid) == (set(line), line["pid"])
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_all_faults_are_listed_by_name_and_without_values() -> None:
    """The start fails at once and quotes nothing."""
    secret = "do-not-tell-this"
    environ = {
        **fresh_secrets(),
        "ADMIN_API_KEY": "",
        "INGESTION_HMAC_SECRET_FILE": "/nowhere/secret",
        "PREDICTION_LAUNCH_KEY": secret,
        "PREDICTION_ENVIRONMENT": "production",
    }
    with pytest.raises(OptionsInvalid) as raised:
        read_options(environ, host="0.0.0.0", port_base=70_000)
    reported = "\n".join(raised.value.faults)
    names = ("--host", "--port-base", "ADMIN_API_KEY", "INGESTION_HMAC_SECRET", "PREDICTION_LAUNCH_KEY")
    assert [] == [name for name in (*names, "PREDICTION_ENVIRONMENT") if name not in reported]
    assert secret not in reported


def test_bad_options_exit_2() -> None:
    """With every fault on stderr."""
    done = subprocess.run([sys.executable, "-m", "gateway.sandbox"], cwd=ROOT, env={}, capture_output=True, timeout=30)
    assert (2, True) == (done.returncode, b"TENANT_ID" in done.stderr)


def test_secrets_come_from_files_and_are_not_in_the_repr(tmp_path: Path) -> None:
    """NAME_FILE works for each, a newline at the end is dropped."""
    values = fresh_secrets()
    environ = {}
    for name, value in values.items():
        (tmp_path / name).write_text(value + "\n")
        environ[f"{name}_FILE"] = str(tmp_path / name)
    options = read_options(environ)
    assert values["INGESTION_HMAC_SECRET"] == options.tenants[0].hmac_secret
    secrets = ("INGESTION_HMAC_SECRET", "ADMIN_API_KEY", "PREDICTION_LAUNCH_KEY")
    assert [] == [name for name in secrets if values[name].strip() in repr(options)]


def test_further_tenants_and_operators_come_from_toml(tmp_path: Path) -> None:
    """Beside those of the environment; a fault names its table."""
    public_pem = read_options(fresh_secrets()).operators[0].public_key_pem
    text = f"""
[[tenants]]
tenant_id = "second"
admin_api_key = "pk_2"
hmac_secret = "s2"
[[operators]]
operator_code = "beta"
environment = "prod"
public_key_pem = '''{public_pem}'''
currencies = ["JPY"]
"""
    file = tmp_path / "sandbox.toml"
    file.write_text(text)
    options = read_options(fresh_secrets(), config=file)
    assert ["tenant-test-001", "second"] == [each.tenant_id for each in options.tenants]
    assert [("acme", "sandbox"), ("beta", "prod")] == [(o.operator_code, o.environment) for o in options.operators]
    file.write_text('[[tenants]]\ntenant_id = "third"\n[[operators]]\noperator_code = 1\n')
    with pytest.raises(OptionsInvalid) as raised:
        read_options({}, config=file)
    assert ["tenants[0].admin_api_key", "tenants[0].hmac_secret", "operators[0].operator_code"] == [
        each.split(":")[0] for each in raised.value.faults[:3]
    ]


def test_tls_serves_https_and_control_stays_on_loopback(tmp_path: Path) -> None:
    """With a certificate it may listen everywhere; control does not."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_certificate(cert, key)
    arguments = ["--host", "0.0.0.0", "--tls-cert", str(cert), "--tls-key", str(key)]
    with SandboxProcess(arguments=arguments) as process:
        assert process.urls["websocket"].startswith("wss://localhost:")
        assert process.urls["control"].startswith("http://127.0.0.1:")
        trust = ssl.create_default_context(cafile=cert)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        with opener.open(process.urls["prediction"] + "/health", timeout=10) as answer:
            assert b"ok" == answer.read()


def write_certificate(cert: Path, key: Path) -> None:
    """Write a self-signed certificate for localhost."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(private, hashes.SHA256())
    )
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
