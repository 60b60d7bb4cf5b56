"""grpcurl, or its replacement, against a gateway. A warning in the summary names the tool."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess
from tools import grpcurl
from tools.grpcurl import NotTranslatable, Tool

BUF = Tool(path=Path("buf"), description="buf", is_buf=True)


@pytest.fixture(scope="module")
def tool() -> Tool:
    found, reasons = grpcurl.find()
    if found is None:
        pytest.skip("; ".join(reasons))
    warnings.warn(f"grpcurl lines ran with: {found.description}", stacklevel=1)
    return found


def translated(tool: Tool, line: str) -> list[str]:
    """Return what to run, or skip the test where this tool cannot do the same."""
    try:
        return tool.command(line)
    except NotTranslatable as reason:
        pytest.skip(str(reason))


@pytest.mark.timeout(grpcurl.BUILD_WITHIN_S + grpcurl.INSTALL_WITHIN_S + 60)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("grpcurl -plaintext {} list", "phoenix.gateway.v1.EventService"),
        ("grpcurl -plaintext {} list phoenix.gateway.v1.KeyService", "ListKeys"),
        ("grpcurl -plaintext -d '{{}}' {} grpc.health.v1.Health/Check", "SERVING"),
        ("grpcurl -plaintext -d '{{}}' {} phoenix.gateway.v1.KeyService/ListKeys", "keys"),
    ],
)
def test_reflection_suffices(line: str, expected: str, tool: Tool, gateway: GatewayProcess) -> None:
    """A tool without any file of ours lists services and methods, and calls them."""
    command = translated(tool, line.format(gateway.address))
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, expected in done.stdout) == (0, True), done.stderr


def test_data_from_standard_input_is_translated_for_buf() -> None:
    """grpcurl writes @, buf @-."""
    assert BUF.command("grpcurl -plaintext -d @ host:50051 p.S/M")[4:] == [
        *("--data", "@-", "--http2-prior-knowledge", "http://host:50051/p.S/M")
    ]


def test_a_call_is_translated_for_buf() -> None:
    """TLS files, headers and data keep their meaning; a method may be written with a dot."""
    line = "grpcurl -cacert ca.pem -cert c.pem -key c.key -H 'x-request-id: 7' -d '{\"a\": 1}' host:50051 p.S.M"
    assert BUF.command(line) == [
        *("buf", "curl", "--protocol", "grpc", "--cacert", "ca.pem", "--cert", "c.pem", "--key", "c.key"),
        *("--header", "x-request-id: 7", "--data", '{"a": 1}', "https://host:50051/p.S/M"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "grpcurl -plaintext h:1 describe p.S",
        "grpcurl -plaintext h:1 list p.S",
        "grpcurl -import-path x h:1 list",
        "grpcurl h:1",
    ],
)
def test_lines_that_buf_cannot_run_are_reported(line: str) -> None:
    """It is skipped by name, not run as something else."""
    with pytest.raises(NotTranslatable):
        BUF.command(line)


def test_without_any_tool_each_reason_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a PATH, nothing is built or installed, and all reasons are listed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(grpcurl, "INSTALLED", tmp_path)
    assert grpcurl.find() == (
        None,
        [
            "grpcurl is not on the PATH",
            "grpcurl is built with Go, which is not installed",
            "npm, which could install buf, is not installed",
        ],
    )
