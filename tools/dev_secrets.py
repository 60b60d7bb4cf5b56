"""Creates the development secrets that the compose file mounts: random, one file each, mode 0600.

An existing file is never changed, so you can replace it with a real secret. Files that belong together, such as a
password and the URL that contains it, are created together. `dev_ca` creates certificates.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.resilience.atomic_file import replace_file


def make(folder: Path) -> list[str]:
    """Create the missing files in `folder` and return one line for each file. No line holds a secret.

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
            # A configuration file, because every user can see a password on Redis's command line.
            {"redis_conf": f"requirepass {redis}", "redis_url": f"redis://:{redis}@redis:6379/0"},
        )
    )
    url = f"postgresql://gateway:{postgres}@postgres:5432/gateway"
    lines.append(_keep_or_write(folder, {"postgres_password": postgres, "database_url": url}))
    return lines


def _keep_or_write(folder: Path, files: dict[str, str]) -> str:
    """Write files that belong together. If only some exist, write nothing: the owner must complete them."""
    present = [name for name in files if (folder / name).exists()]
    if len(present) == len(files):
        return f"kept {', '.join(files)}"
    if present:
        absent = [name for name in files if name not in present]
        return f"MISSING {', '.join(absent)}: belongs to {', '.join(present)}. Write it, or delete both."
    for name, value in files.items():
        write_private(folder / name, value.encode() + b"\n")
    return f"made {', '.join(files)}"


def _private_key() -> str:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode().rstrip("\n")


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600 atomically: no other user can read it at any moment, and it is never incomplete.

    Raises: OSError.
    """
    replace_file(path, content)
