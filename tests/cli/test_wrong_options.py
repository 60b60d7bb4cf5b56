"""Options and files that cannot work: exit code 2 at once, what is wrong, and what to do. Never a traceback."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gateway.cli.connect import open_channel
from gateway.cli.options import WrongOptions
from tests.certificates import Authority
from tests.gateway_command import gateway_command


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end in a folder."""
    return gateway_command(*arguments, folder=folder)


@pytest.mark.parametrize(
    "target", ["", "gateway", "127.0.0.1", "gateway:", "gateway:port", "a b:1", "http://gateway:1"]
)
def test_an_address_without_a_port_is_refused(target: str) -> None:
    """grpc would take port 443, or print lines of its own."""
    with pytest.raises(WrongOptions, match=r"--target: .* is no address; write host:port"):
        open_channel(target, None, None, None)


@pytest.mark.parametrize(
    "target", ["gateway:1", "[::1]:50051", "unix:/run/gateway.sock", "unix:///run/g", "dns:///gateway.internal:1"]
)
def test_every_form_of_an_address_is_taken(target: str) -> None:
    """Those that docs/tls.md and grpc name."""
    open_channel(target, None, None, None).close()


def test_tls_files_are_checked_before_any_connection(tmp_path: Path) -> None:
    """No certificate, a key of another one, a file that is not there: each is named."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "text.pem").write_text("no certificate")
    own, key = authority.issue("spiffe://test/a").write(tmp_path, "own")
    _, foreign = authority.issue("spiffe://test/b").write(tmp_path, "foreign")
    ca, text, gone = tmp_path / "ca.pem", tmp_path / "text.pem", tmp_path / "gone.pem"
    for files, message in [
        ((text, None, None), r"--ca-file: .*text\.pem has no certificate; give the CA as PEM"),
        ((ca, own, foreign), r"foreign\.key do not belong together.*check both"),
        ((ca, text, key), r"text\.pem and .* do not belong together, or are not a PEM"),
        ((ca, own, gone), r"gone\.pem: the TLS file cannot be read \(No such file.*check the path"),
        ((gone, own, key), r"gone\.pem: the TLS file cannot be read"),
    ]:
        with pytest.raises(WrongOptions, match=message):
            open_channel("127.0.0.1:1", *files)
    open_channel("127.0.0.1:1", ca, own, key).close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["top", "xp", "--target", "gateway"], "--target: 'gateway' is no address; write host:port"),
        (["smoke", "--target", "gateway"], "--target: 'gateway' is no address"),
        (["events", "send", "gone.jsonl"], "gone.jsonl: No such file or directory; check the path"),
        (["evidence", "verify", "gone.jsonl"], "gone.jsonl: No such file or directory; check the path"),
        (["policy", "diff", "old.toml", "new.toml"], "old.toml: The configuration cannot be used"),
    ],
)
def test_the_message_says_what_to_do(arguments: list[str], message: str, tmp_path: Path) -> None:
    """Nothing was done, and nothing else is printed."""
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
