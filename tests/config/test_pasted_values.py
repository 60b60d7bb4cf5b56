"""Values as people and programs paste them: understood by a rule, or refused at the start by the setting's name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.config import load
from tests.certificates import Authority
from tests.config.valid_settings import LAUNCH_KEY, OPERATOR, TENANT, WHOLE, faulty, loaded, platform_pem, refused
from tests.other_user import Mount


@pytest.mark.parametrize("quotes", ['""', "''", "\u201c\u201d", "\u201e\u201c", "\u00ab\u00bb"])
@pytest.mark.parametrize("name", ["TENANT_ID", "PREDICTION_OPERATOR_CODE", "INGESTION_HMAC_SECRET", "ADMIN_API_KEY"])
def test_quotes_around_a_value_are_refused(name: str, quotes: str) -> None:
    """`docker --env-file` keeps them. Phoenix would answer 401."""
    error = refused({**WHOLE, name: quotes[0] + WHOLE[name] + quotes[1]})
    assert {fault.setting for fault in error.faults} == {name}
    assert "quotes" in str(error) or name == "ADMIN_API_KEY"
    assert WHOLE[name] == "acme" or WHOLE[name] not in str(error)


def test_quotes_around_any_other_setting_are_refused_by_its_name() -> None:
    """As the one fault, not as a number or an address that is wrong."""
    settings = {
        **WHOLE,
        "GATEWAY_WORKERS": '"2"',
        "ADMIN_BASE_URL": '"https://admin.example"',
        "GATEWAY_FRONT": "'grpc'",
    }
    assert set(faulty(settings)) == {"GATEWAY_WORKERS", "ADMIN_BASE_URL", "GATEWAY_FRONT"}


@pytest.mark.parametrize("name", ["TENANT_ID", "PREDICTION_OPERATOR_CODE"])
@pytest.mark.parametrize("text", ["a/b", "..", ".", "a\\b"])
def test_an_id_with_a_slash_is_refused(name: str, text: str) -> None:
    """It is a part of paths at Phoenix."""
    assert faulty({**WHOLE, name: text}) == [name]


@pytest.mark.parametrize("name", ["TENANT_ID", "PREDICTION_OPERATOR_CODE", "PREDICTION_OPERATOR_ID"])
@pytest.mark.parametrize("text", ["\u200bid", "id\ufeff", "i\u00a0d", '"id', "id'"], ids=ascii)
def test_an_id_with_half_a_pair_of_quotes_or_with_something_invisible_is_refused(name: str, text: str) -> None:
    """Copied from a page or a chat. A wrong operator id would refuse every webhook permanently."""
    assert faulty({**WHOLE, name: text}) == [name]
    assert text not in str(refused({**WHOLE, name: text}))


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("GATEWAY_AUDIT_REQUIRED=true\n".encode("utf-16-le"), ".env"),
        ("# a\n\u200bGATEWAY_AUDIT_REQUIRED=true\n".encode(), ".env, line 2"),
    ],
    ids=["UTF-16 without a mark", "an invisible character before the name"],
)
def test_a_setting_of_the_env_file_whose_name_is_not_readable_is_refused(
    content: bytes, place: str, tmp_path: Path
) -> None:
    """It would be taken for a variable of another program, and ignored."""
    env_file = tmp_path / ".env"
    env_file.write_bytes(content)
    error = refused({**WHOLE, "GATEWAY_AUDIT_FILE": str(tmp_path / "audit")}, env_file=env_file)
    assert [fault.setting for fault in error.faults] == [place]


def test_a_blank_after_the_equals_sign_is_no_part_of_a_value(tmp_path: Path) -> None:
    """The vendor's sample prints it. The same from docker, which hands it over as it is."""
    lines = "".join(f"{name}= {value} \n" for name, value in TENANT.items())
    env_file = tmp_path / ".env"
    env_file.touch(0o600)
    env_file.write_bytes(b"\xef\xbb\xbf" + lines.replace("\n", "\r\n").encode())
    for config in (load({}, env_file=env_file), loaded({name: f" {value}" for name, value in TENANT.items()})):
        (tenant,) = config.tenants
        assert tenant.keys.hmac is not None
        assert tenant.keys.hmac.value is not None
        assert (tenant.keys.tenant_id, tenant.keys.hmac.value.reveal()) == ("acme", b"hmac-secret-text")


def test_blanks_around_a_path_are_no_part_of_it(tmp_path: Path) -> None:
    """A line of `docker --env-file` may end with one."""
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("from-a-file-0123456789")
    settings = {name: value for name, value in TENANT.items() if name != "INGESTION_HMAC_SECRET"}
    (tenant,) = loaded({**settings, "INGESTION_HMAC_SECRET_FILE": f" {secret} "}).tenants
    assert tenant.keys.hmac is not None
    assert tenant.keys.hmac.path == secret


@pytest.mark.parametrize(("before", "after"), [(" ", ""), ("", " "), ("", "\r")], ids=["before", "after", "CRLF"])
def test_the_data_directory_and_the_toml_file_are_found_behind_blanks(before: str, after: str, tmp_path: Path) -> None:
    """Evidence in a folder named " /data" would be outside the volume, and lost with the container."""
    (tmp_path / "gateway.toml").write_text("gateway_workers = 2\n")
    named = {"GATEWAY_DATA_DIR": tmp_path / "data", "GATEWAY_CONFIG": tmp_path / "gateway.toml"}
    config = loaded({**WHOLE, **{name: f"{before}{path}{after}" for name, path in named.items()}})
    assert (config.data_dir, config.workers) == (tmp_path / "data", 2)


@pytest.mark.parametrize("name", ["GATEWAY_DATA_DIR", "GATEWAY_CONFIG", "GATEWAY_AUDIT_FILE"])
def test_a_blank_is_no_path(name: str) -> None:
    """It would be the working directory."""
    assert faulty({**WHOLE, name: " "}) == [name]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_files_in_another_encoding_are_refused(encoding: str, tmp_path: Path) -> None:
    """With what they should be."""
    text = "# schön\ngateway_workers = 2\n".encode(encoding)
    for name in (".env", "gateway.toml"):
        path = tmp_path / name
        path.write_bytes(text)
    error = refused({**WHOLE, "GATEWAY_CONFIG": str(tmp_path / "gateway.toml")}, env_file=tmp_path / ".env")
    assert [fault.setting for fault in error.faults] == [".env", "GATEWAY_CONFIG"]
    assert str(error).count("UTF-8") == 4


def test_a_toml_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors on Windows write it."""
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xef\xbb\xbfgateway_workers = 2\r\n")
    assert loaded({**WHOLE, "GATEWAY_CONFIG": str(path)}).workers == 2


@pytest.mark.parametrize("name", ["PREDICTION_LAUNCH_KEY", "PREDICTION_PLATFORM_KEY", "GATEWAY_EVIDENCE_KEY"])
def test_a_pem_in_one_line_is_understood(name: str) -> None:
    """Variables write its line ends as two characters."""
    pem = platform_pem() if name == "PREDICTION_PLATFORM_KEY" else LAUNCH_KEY
    assert loaded({**WHOLE, name: pem.replace("\n", "\\n")}).operators


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\xef\xbb\xbfabc-secret", "byte-order mark"),
        ("abc-secret".encode("utf-16"), "UTF-16"),
        (b"abc-secret\n\n", "line end"),
        (b"abc-secret\nabc-secret2\n", "several lines"),
        (b"INGESTION_HMAC_SECRET=abc-secret\n", "assignment"),
    ],
    ids=["bom", "utf-16", "two line ends", "two lines", "assignment"],
)
def test_a_secret_file_that_would_sign_wrongly_stops_the_start(content: bytes, found: str, tmp_path: Path) -> None:
    """By the name of the setting, with what was found."""
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_bytes(content)
    settings = {name: value for name, value in WHOLE.items() if name != "INGESTION_HMAC_SECRET"}
    error = refused({**settings, "INGESTION_HMAC_SECRET_FILE": str(path)})
    assert [fault.setting for fault in error.faults] == ["INGESTION_HMAC_SECRET_FILE"]
    assert found in str(error)
    assert "abc-secret" not in str(error)


def test_swapped_files_are_refused_by_name(tmp_path: Path) -> None:
    """The launch key and the TLS key; certificate and key; a CA file without a certificate."""
    authority = Authority()
    pair = authority.issue("localhost")
    files = {"cert": pair.certificate, "key": pair.key, "ca": authority.certificate, "launch": LAUNCH_KEY.encode()}
    for name, content in files.items():
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_bytes(content)

    def faults(cert: str, key: str, launch: str, ca: str | None = None) -> list[str]:
        settings = {
            **TENANT,
            **{name: value for name, value in OPERATOR.items() if name != "PREDICTION_LAUNCH_KEY"},
            "PREDICTION_LAUNCH_KEY_FILE": str(tmp_path / launch),
            "GATEWAY_TLS_CERT_FILE": str(tmp_path / cert),
            "GATEWAY_TLS_KEY_FILE": str(tmp_path / key),
        }
        if ca is not None:
            settings["GATEWAY_TLS_CLIENT_CA_FILE"] = str(tmp_path / ca)
        return [str(fault) for fault in refused(settings).faults]

    swapped = faults("cert", "launch", "key")
    assert [fault.partition(":")[0] for fault in swapped] == ["GATEWAY_TLS_KEY_FILE", "PREDICTION_LAUNCH_KEY_FILE"]
    assert "is it the launch key?" in swapped[0]
    assert [fault.partition(":")[0] for fault in faults("key", "cert", "launch")] == ["GATEWAY_TLS_CERT_FILE"]
    assert [fault.partition(":")[0] for fault in faults("cert", "cert", "launch")] == ["GATEWAY_TLS_KEY_FILE"]
    assert "GATEWAY_TLS_CLIENT_CA_FILE" in [fault.partition(":")[0] for fault in faults("cert", "key", "launch", "key")]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["PREDICTION_PLATFORM_KEY_FILE", "GATEWAY_UPSTREAM_CA_FILE"])
def test_a_pipe_in_place_of_a_file_is_refused(name: str, tmp_path: Path) -> None:
    """Without a writer the start would wait with no end, and what was read once could not be read again."""
    os.mkfifo(tmp_path / "pipe")
    assert faulty({**WHOLE, name: str(tmp_path / "pipe")}) == [name]


@pytest.mark.parametrize("content", [b"no PEM", b"", b"  "], ids=["text", "nothing", "a certificate after blanks"])
def test_a_ca_file_for_phoenix_that_tls_cannot_read_stops_the_start(content: bytes, tmp_path: Path) -> None:
    """By name. Without a certificate in it, no connection to Phoenix would be trusted."""
    path = tmp_path / "ca.pem"
    path.write_bytes(content + (Authority().certificate if content == b"  " else b""))
    assert faulty({**WHOLE, "GATEWAY_UPSTREAM_CA_FILE": str(path)}) == ["GATEWAY_UPSTREAM_CA_FILE"]


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_refused_unless_phoenix_is_excluded(name: str) -> None:
    """The gateway connects directly. It says so, and does not ignore the variable in silence."""
    proxied = {**TENANT, name: "http://proxy.example:3128"}
    assert faulty(proxied) == [name]
    assert "ingestion.example" in str(refused(proxied))
    for excluded in (".example", "ingestion.example,admin.example, query.example", "*"):
        assert loaded({**proxied, "NO_PROXY": excluded}).warnings == ()
    by_port = "ingestion.example:443,.example:443"
    assert loaded({**proxied, "NO_PROXY": by_port}).warnings == ()
    assert faulty({**proxied, "NO_PROXY": by_port.replace("443", "8443")}) == [name]
    assert faulty({**proxied, "no_proxy": "example.com,ample"}) == [name]
    local = {key: "http://127.0.0.1:8080" for key in TENANT if key.endswith("BASE_URL")}
    assert loaded({**proxied, **local, "WEBSOCKET_URL": "ws://127.0.0.1:8080/ws"}).warnings == ()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_proxy_for_plaintext_is_a_warning(name: str) -> None:
    """It applies to no connection of the gateway. An operator who relies on it alone reads so at the start."""
    proxied = {**TENANT, name: "http://proxy-with-password.example:3128"}
    (warning,) = loaded(proxied).warnings
    assert (warning.setting, "is not used" in warning.problem) == (name, True)
    assert "ingestion.example" in warning.remedy
    assert "password" not in str(warning)
    assert loaded({**proxied, "NO_PROXY": ".example"}).warnings == ()
    local = {key: "http://127.0.0.1:8080" for key in TENANT if key.endswith("BASE_URL")}
    assert loaded({**proxied, **local, "WEBSOCKET_URL": "ws://127.0.0.1:8080/ws"}).warnings == ()
    assert faulty({**proxied, "HTTPS_PROXY": "http://proxy.example:3128"}) == ["HTTPS_PROXY"]


def test_the_platform_key_may_have_text_around_it(tmp_path: Path) -> None:
    """As the route that serves it may answer. Two different keys are refused."""
    mount = Mount(tmp_path / "keys", mode=0o644)
    key = platform_pem()
    escaped = key.replace("\n", "\\n")
    mount.swap(one=f"# key 2026\n{key}", two=key + platform_pem(), escaped=escaped)
    settings = {**WHOLE, "PREDICTION_PLATFORM_KEY_FILE": mount.path("one")}
    for name in ("one", "escaped"):
        found = loaded({**settings, "PREDICTION_PLATFORM_KEY_FILE": mount.path(name)}).operators[0].static_platform_key
        assert found is not None
        assert found.spki_pem.decode() == key
    error = refused({**settings, "PREDICTION_PLATFORM_KEY_FILE": mount.path("two")})
    assert [fault.setting for fault in error.faults] == ["PREDICTION_PLATFORM_KEY_FILE"]
    assert "two different keys" in str(error)
