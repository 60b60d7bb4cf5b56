"""Which files a process may take a secret from: libpq's rule, asked by a process of user 1000 with group 2000."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.other_user import GROUP, USER, Mount, needs_root, open_folder, result_as_user

_IMPORT = """
from pathlib import Path
from gateway.core.secret import SecretRefused
from gateway.keys.sources.secret_files import read_secret_file
"""
_READ = """
result = {}
for name, path in argument.items():
    try:
        read_secret_file(Path(path))
        result[name] = "taken"
    except SecretRefused as refused:
        result[name] = str(refused)
"""
CASES = {
    "root 2000 0440": (0, GROUP, 0o440, "taken"),
    "root 2000 0640": (0, GROUP, 0o640, "taken"),
    "own 0600": (USER, USER, 0o600, "taken"),
    "own 0400": (USER, GROUP, 0o400, "taken"),
    "root 2000 0644": (0, GROUP, 0o644, "every user"),
    "root 2000 0444": (0, GROUP, 0o444, "every user"),
    "root 2000 0460": (0, GROUP, 0o460, "group 2000"),
    "own 0440": (USER, GROUP, 0o440, "chmod 600"),
    "own 0640": (USER, USER, 0o640, "chmod 600"),
    "stranger 2000 0440": (1234, GROUP, 0o440, "owner 1234"),
    "root 3000 0440": (0, 3000, 0o440, "user 1000 with groups 1000, 2000"),
    "root 0400": (0, 0, 0o400, "user 1000 with groups 1000, 2000"),
}


@needs_root
def test_files_of_root_for_a_group_of_ours_are_taken_and_nobody_elses() -> None:
    """As Kubernetes mounts them with fsGroup. Every refusal names the fix."""
    with open_folder() as folder:
        asked = {}
        for name, (owner, group, mode, _) in CASES.items():
            path = folder / name
            path.write_text("value-of-the-secret")
            path.chmod(mode)
            os.chown(path, owner, group)
            asked[name] = str(path)
        results = result_as_user(_IMPORT, _READ, asked)
    wrong = {name: results[name] for name, (*_, expected) in CASES.items() if expected not in results[name]}
    assert wrong == {}


@needs_root
def test_files_that_root_gives_by_an_access_list_are_taken() -> None:
    """As systemd does in CREDENTIALS_DIRECTORY: root:root, 0440, where the group's bits are only the list's mask."""
    with open_folder() as folder:
        path = folder / "credential"
        path.write_text("value-of-the-secret")
        path.chmod(0o400)
        entries = [(0x01, 4, -1), (0x02, 4, USER), (0x04, 0, -1), (0x10, 4, -1), (0x20, 0, -1)]
        acl = struct.pack("<I", 2) + b"".join(
            struct.pack("<HHI", tag, rights, who & 0xFFFFFFFF) for tag, rights, who in entries
        )
        try:
            os.setxattr(path, "system.posix_acl_access", acl)
        except OSError as error:
            pytest.skip(f"this file system has no access control lists: {error}")
        assert path.stat().st_mode & 0o777 == 0o440
        assert result_as_user(_IMPORT, _READ, {"it": str(path)}) == {"it": "taken"}


_LOAD_FIRST = """
from pathlib import Path
from gateway.config import ConfigInvalid, load
def attempt():
    try:
        config = load(argument["environ"], env_file=Path(argument["env_file"]))
    except ConfigInvalid as invalid:
        return [str(fault) for fault in invalid.faults]
    return [str(warning) for warning in config.warnings]
attempt()
"""


@needs_root
def test_a_whole_configuration_is_taken_from_mounts() -> None:
    """Secrets, a folder of versions, TLS key, `.env`, and a TOML file with secrets and the policy: root:2000 0440."""
    from tests.certificates import Authority
    from tests.config.valid_settings import LAUNCH_KEY, TENANT

    authority = Authority()
    pair = authority.issue("localhost")
    with open_folder() as folder:
        mount = Mount(folder / "secrets")
        mount.swap(
            hmac="hmac-secret-text\n",
            api_key="api-key-text",
            server__pem=pair.certificate,
            server__key=pair.key,
            ca__pem=authority.certificate,
            env="GATEWAY_DEV_TOKEN=\nADMIN_API_KEY=from-the-env-file\n",
            gateway__toml='[[tenants]]\ntenant_id = "two"\nadmin_api_key = "k"\ningestion_hmac_secret = "s"\n'
            '[[callers]]\nname = "game"\nids = ["game.example"]\n',
        )
        versions = Mount(folder / "launch")
        versions.swap(**{"20260101T000000Z__pem": LAUNCH_KEY})
        environ = {
            **{name: value for name, value in TENANT.items() if name.endswith("_URL") or name == "TENANT_ID"},
            "INGESTION_HMAC_SECRET_FILE": mount.path("hmac"),
            "PREDICTION_OPERATOR_CODE": "acme",
            "PREDICTION_ENVIRONMENT": "sandbox",
            "PREDICTION_LAUNCH_KEY_FILE": str(versions.folder),
            "GATEWAY_TLS_CERT_FILE": mount.path("server.pem"),
            "GATEWAY_TLS_KEY_FILE": mount.path("server.key"),
            "GATEWAY_TLS_CLIENT_CA_FILE": mount.path("ca.pem"),
            "GATEWAY_CONFIG": mount.path("gateway.toml"),
            "GATEWAY_DATA_DIR": "/tmp",
        }
        argument = {"environ": environ, "env_file": mount.path("env")}
        assert result_as_user(_LOAD_FIRST, "result = attempt()", argument) == []
        for path in Path(mount.folder, "..data").iterdir():
            path.chmod(0o444)
        faults = result_as_user(_LOAD_FIRST, "result = attempt()", argument)
    refused = ["GATEWAY_CONFIG", "INGESTION_HMAC_SECRET_FILE", "GATEWAY_TLS_KEY_FILE", "env"]
    assert sorted(refused) == sorted(fault.partition(":")[0] for fault in faults)
