"""Reads one prediction operator environment: its key, Phoenix's hosts, the platform key's rules. Source: API.md."""

from __future__ import annotations

import re

from gateway.config import names
from gateway.config.key_stores import Unusable, read_key_store
from gateway.config.model import OperatorConfig
from gateway.config.values import Reader
from gateway.config.wallets import read_held_operations, read_wallet_adapter
from gateway.core.ed25519 import KeyRefused, VerifyingKey, find_verifying_key
from gateway.core.launch_token import DEFAULT_AUDIENCE, MAX_TTL_S, LaunchSettings, is_currency
from gateway.core.raw_path import PathRefused, split_path
from gateway.core.types import Environment, KeyId, OperatorCode
from gateway.keys.own.entries import DEFAULT_LEAD_S
from gateway.keys.own.keyring import OperatorEntry
from gateway.keys.platform.settings import PlatformKeySettings
from gateway.phoenix.auth.modes import OperatorSignature
from gateway.phoenix.prediction.operator_api import DEFAULT_STATS_PATH

DEFAULT_BASE_URL = "https://prediction.phoenixverse.io"
DEFAULT_EMBED_URL = "https://embed.prediction.phoenixverse.io"
NO_AUDIENCE = "none"
"""Value of PREDICTION_LAUNCH_AUDIENCE that omits the claim."""


def is_meant(reader: Reader) -> bool:
    """Return whether this scope sets anything of an operator."""
    return any(reader.given(name) for name in names.OPERATOR_OWN)


def read_operator(reader: Reader) -> OperatorConfig:
    """Return the operator environment. The reader collects the faults."""
    defaults = PlatformKeySettings()
    pins = _pins(reader)
    lead_s = reader.seconds("PREDICTION_KEY_LEAD", DEFAULT_LEAD_S)
    longest_token_s = reader.whole("PREDICTION_LAUNCH_MAX_TTL", MAX_TTL_S, least=1, most=MAX_TTL_S)
    key_store = read_key_store(reader)
    entry = OperatorEntry(
        operator_code=OperatorCode(
            reader.identifier("PREDICTION_OPERATOR_CODE", what="the operator's code at Phoenix")
        ),
        environment=reader.choice("PREDICTION_ENVIRONMENT", None, Environment),
        signing_key=(
            reader.secret_source("PREDICTION_LAUNCH_KEY", required_for="it signs launch tokens")
            if key_store is None
            else None
        ),
        key_store=None if isinstance(key_store, Unusable) else key_store,
        operator_id=reader.optional_identifier("PREDICTION_OPERATOR_ID"),
        lead_s=lead_s,
        # Published until the last token that it signed has expired, plus the time between two looks of a verifier.
        retire_s=longest_token_s + lead_s,
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
        platform_key_file=reader.file("PREDICTION_PLATFORM_KEY_FILE"),
        wallet_lease_s=reader.seconds("PREDICTION_WALLET_LEASE", 60.0),
        wallet=read_wallet_adapter(reader),
        held_operations=read_held_operations(reader),
        keeps_response_bodies=reader.flag("PREDICTION_KEEP_RESPONSE_BODIES", True),
        currencies=_currencies(reader),
        launch=LaunchSettings(
            audience=_audience(reader),
            sends_typ=reader.flag("PREDICTION_LAUNCH_TYP", True),
            max_ttl_s=longest_token_s,
        ),
        signature=reader.choice("PREDICTION_OPERATOR_SIGNATURE", OperatorSignature.SIX, OperatorSignature),
        stats_path=_stats_path(reader),
    )


def _currencies(reader: Reader) -> frozenset[str]:
    name = "PREDICTION_CURRENCIES"
    text = reader.optional_text(name, max_chars=4096)
    codes = (text or "").replace(",", " ").split()
    if text is not None and not (codes and all(is_currency(code) for code in codes)):
        remedy = "write codes of 2 to 16 capital letters or digits, separated by commas, such as EUR,USD"
        reader.fault(name, "is not a list of currency codes", remedy)
    return frozenset(codes)


def _audience(reader: Reader) -> str | None:
    text = reader.optional_text("PREDICTION_LAUNCH_AUDIENCE", max_chars=128)
    return DEFAULT_AUDIENCE if text is None else None if text == NO_AUDIENCE else text


def _stats_path(reader: Reader) -> str:
    name = "PREDICTION_STATS_PATH"
    path = reader.optional_text(name, max_chars=2048)
    if path is None:
        return DEFAULT_STATS_PATH
    try:
        if split_path(path)[:2] != ("operator", "api"):
            raise PathRefused("must begin with /operator/api/")
    except PathRefused as refused:
        reader.fault(name, f"is not a path of the Operator API: {refused}", f"the default is {DEFAULT_STATS_PATH}")
    return path


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
        key = find_verifying_key(pem)
    except KeyRefused as refusal:
        reader.fault(shown, str(refusal))
        return None
    if pins and key.key_id not in pins:
        reader.fault(shown, "is not pinned by PREDICTION_PLATFORM_KEY_SHA256", "correct one of the two")
    return key
