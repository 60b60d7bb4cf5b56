"""The ways to authenticate that a setting can choose. Imports nothing, so that reading the settings stays cheap."""

from __future__ import annotations

import enum


class UpstreamAuth(enum.Enum):
    """How the gateway authenticates at the admin or the query host."""

    API_KEY = "api_key"
    BEARER = "bearer"
    HMAC = "hmac"
    JWT = "jwt"


class SocketAuth(enum.Enum):
    """How the gateway authenticates at the live socket. HMAC uses Phoenix's older path, BEARER the newer one."""

    HMAC = "hmac"
    BEARER = "bearer"


class OperatorSignature(enum.Enum):
    """What the Operator API's signature covers: six parts, or the five of the older generation."""

    SIX = "six"
    FIVE = "five"
