"""connectconformance's gRPC server cases against both engines: nothing fails but what is written here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.front.interop.conformance_engine import ENGINES
from tools import go_tools

ROOT = Path(__file__).parents[3]
PACKAGE, VERSION = "connectrpc.com/conformance/cmd/connectconformance", "v1.0.5"
CONFIG = """\
features:
  versions: [HTTP_VERSION_2]
  protocols: [PROTOCOL_GRPC]
  codecs: [CODEC_PROTO]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP, COMPRESSION_DEFLATE]
  supportsTlsClientCerts: true
"""
_LIMIT = "INVALID_ARGUMENT that names the limit: RESOURCE_EXHAUSTED would promise that a repeat may succeed"
_ONE_MESSAGE = "INVALID_ARGUMENT: the method exists, and its one message was not sent"
KNOWN = {
    "Server Message Size/**/first-request-exceeds-server-limit": _LIMIT,
    "Server Message Size/**/subsequent-request-exceeds-server-limit": _LIMIT,
    "Server Message Size/**/request-exceeds-server-limit": _LIMIT,
    "gRPC Unexpected Requests/**/multiple-requests": _ONE_MESSAGE,
    "gRPC Unexpected Requests/**/no-request": _ONE_MESSAGE,
    "gRPC Unexpected Requests/**/unexpected-compressed-message": "INVALID_ARGUMENT: it does not say how",
}
"""What fails, as patterns of its names, and why that is right."""
FLAKY = {
    "Timeouts/**": "the server's DEADLINE_EXCEEDED has details; whether it arrives before the client's own is chance"
}


@pytest.mark.faults
@pytest.mark.timeout(go_tools.BUILD_WITHIN_S + 300)
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_nothing_fails_but_what_is_listed(engine: str, tmp_path: Path) -> None:
    """Over plaintext, TLS and mutual TLS; what is listed has to fail."""
    try:
        program = go_tools.installed(PACKAGE, VERSION)
    except go_tools.NotBuilt as reason:
        pytest.skip(str(reason))
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    known = [word for pattern in KNOWN for word in ("--known-failing", pattern)]
    known += [word for pattern in FLAKY for word in ("--known-flaky", pattern)]
    subject = [sys.executable, "-m", "tests.front.interop.conformance_subject", engine]
    done = subprocess.run(
        [str(program), "--mode", "server", "--conf", str(config), *known, "--", *subject],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    printed = (done.stdout + done.stderr).splitlines()
    unexpected = [at for at, line in enumerate(printed) if "failed" in line.lower() and "(as expected)" not in line]
    shown = ["\n".join(printed[at : at + 4]) for at in unexpected]
    assert done.returncode == 0, "\n".join([*shown, *printed[-5:]])
