"""Make the secrets that the compose file mounts, for development: random, one file each, 0600.

A file that is there is never touched: put a real secret in its place and it stays. What belongs together (a password
and the URL or configuration that holds it) is made together. Certificates are `dev_ca`'s matter.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.resilience.atomic_file import replace_file


def make(folder: Path) -> list[str]:
    """Make what is missing in `folder` and return one line for each file; values are in none of them.

    Raises: OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = {
        "ingestion_hmac_secret": secrets.token_hex(32),
        "admin_api_key": f"pk_{secrets.token_hex(16)}",
        "prediction_launch_key": _private_key(),
        "gateway_evidence_key": _private_key(),
        "gateway_cache_keys": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    lines = [_keep_or_write(folder, {name: value}) for name, value in made.items()]
    redis, postgres = secrets.token_hex(24), secrets.token_hex(24)
    lines.append(
        _keep_or_write(
            folder,
            # Redis takes a password from its configuration or its command line, and the latter can be seen by all.
            {"redis_conf": f"requirepass {redis}", "redis_url": f"redis://:{redis}@redis:6379/0"},
        )
    )
    url = f"postgresql://gateway:{postgres}@postgres:5432/gateway"
    lines.append(_keep_or_write(folder, {"postgres_password": postgres, "database_url": url}))
    return lines


def _keep_or_write(folder: Path, files: dict[str, str]) -> str:
    """Write the files unless one of them is there: half of what belongs together is the owner's to mend."""
    present = [name for name in files if (folder / name).exists()]
    if len(present) == len(files):
        return f"kept {', '.join(files)}"
    if present:
        absent = [name for name in files if name not in present]
        return f"MISSING {', '.join(absent)}: belongs with {', '.join(present)}; write it, or delete both"
    for name, value in files.items():
        write_private(folder / name, value.encode() + b"\n")
    return f"made {', '.join(files)}"


def _private_key() -> str:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode().rstrip("\n")


def write_private(path: Path, content: bytes) -> None:
    """Put a file of 0600 in its place at once; it is never there half, nor open to others for a moment.

    Raises: OSError.
    """
    replace_file(path, content)
