"""Reads one prediction operator environment: its key, Phoenix's hosts, the platform key's rules. Source: API.md."""

from __future__ import annotations

import re

from gateway.config import names
from gateway.config.model import OperatorConfig
from gateway.config.values import Reader
from gateway.core.ed25519 import KeyRefused, VerifyingKey, load_verifying_key
from gateway.core.types import Environment, KeyId, OperatorCode
from gateway.core.wallet_adapter import WalletAdapter
from gateway.keys.keyring import OperatorEntry
from gateway.keys.platform_keys import PlatformKeySettings

DEFAULT_BASE_URL = "https://prediction.phoenixverse.io"
DEFAULT_EMBED_URL = "https://embed.prediction.phoenixverse.io"
_FINAL = (400, 401, 403)
"""What Phoenix never tries again: a doubt answered so would lose a move for good."""


def is_meant(reader: Reader) -> bool:
    """Tell whether anything of an operator is set here."""
    return any(reader.given(name) for name in names.OPERATOR_OWN)


def read_operator(reader: Reader) -> OperatorConfig:
    """Return the operator environment; faults are noted with the reader."""
    defaults = PlatformKeySettings()
    pins = _pins(reader)
    entry = OperatorEntry(
        operator_code=OperatorCode(reader.text("PREDICTION_OPERATOR_CODE", what="the operator's code at Phoenix")),
        environment=reader.choice("PREDICTION_ENVIRONMENT", None, Environment),
        signing_key=reader.secret_source("PREDICTION_LAUNCH_KEY", required_for="it signs launch tokens"),
        operator_id=reader.optional_text("PREDICTION_OPERATOR_ID"),
    )
    return OperatorConfig(
        keys=entry,
        base_url=reader.base_url("PREDICTION_BASE_URL", default=DEFAULT_BASE_URL),
        embed_url=reader.base_url("PREDICTION_EMBED_URL", default=DEFAULT_EMBED_URL),
        platform_keys=PlatformKeySettings(
            cooldown_s=reader.seconds("PREDICTION_KEY_COOLDOWN", defaults.cooldown_s),
            overlap_s=reader.seconds("PREDICTION_KEY_OVERLAP", defaults.overlap_s),
            pins=pins,
        ),
        static_platform_key=_platform_key(reader, pins),
        wallet_lease_s=reader.seconds("PREDICTION_WALLET_LEASE", 60.0),
        wallet=WalletAdapter(unreadable_status=_unreadable_status(reader)),
    )


def _pins(reader: Reader) -> frozenset[KeyId]:
    text = reader.optional_text("PREDICTION_PLATFORM_KEY_SHA256", max_chars=4096)
    parts = (text or "").lower().replace(",", " ").split()
    if text is not None and not (parts and all(re.fullmatch(r"[0-9a-f]{64}", part) for part in parts)):
        reader.fault(
            "PREDICTION_PLATFORM_KEY_SHA256",
            "is not a list of SHA-256 fingerprints",
            "write 64 hexadecimal digits each, separated by commas",
        )
    return frozenset(KeyId(part) for part in parts)


def _platform_key(reader: Reader, pins: frozenset[KeyId]) -> VerifyingKey | None:
    name = "PREDICTION_PLATFORM_KEY"
    pem = reader.public_bytes(name)
    if pem is None:
        return None
    shown = name if reader.scope.get(name) is not None else f"{name}_FILE"
    try:
        key = load_verifying_key(pem)
    except KeyRefused as refusal:
        reader.fault(shown, str(refusal))
        return None
    if pins and key.key_id not in pins:
        reader.fault(shown, "is none of the keys pinned by PREDICTION_PLATFORM_KEY_SHA256", "correct one of the two")
    return key


def _unreadable_status(reader: Reader) -> int:
    name, default = "PREDICTION_UNREADABLE_STATUS", WalletAdapter().unreadable_status
    status = reader.whole(name, default, least=400, most=599)
    if status in _FINAL:
        reader.faults.warn(name, "is a status after which Phoenix gives a move up for good", "503 is never wrong")
    return status
