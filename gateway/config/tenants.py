"""Reads one gamification tenant: its secrets, Phoenix's hosts, how to authenticate there. Source: API.md."""

from __future__ import annotations

import uuid

from gateway.config import names
from gateway.config.model import BulkEvents, TenantConfig
from gateway.config.values import Reader
from gateway.core.types import TenantId
from gateway.keys.own.keyring import TenantEntry
from gateway.phoenix.auth.modes import SocketAuth, UpstreamAuth
from gateway.phoenix.gamification.events import EventsSettings

_TAKES_API_KEY = {
    "ADMIN_AUTH": (UpstreamAuth.API_KEY, UpstreamAuth.BEARER, UpstreamAuth.JWT),
    "QUERY_AUTH": (UpstreamAuth.API_KEY, UpstreamAuth.BEARER),
}
"""An admin JWT is signed with the API key's text; a tenant JWT, for the query host, with the HMAC secret."""


def is_meant(reader: Reader) -> bool:
    """Return whether this scope sets anything of a tenant."""
    return any(reader.given(name) for name in names.TENANT_OWN)


def read_tenant(reader: Reader) -> TenantConfig:
    """Return the tenant. The reader collects the faults."""
    admin_auth = reader.choice("ADMIN_AUTH", UpstreamAuth.API_KEY, UpstreamAuth)
    query_auth = reader.choice("QUERY_AUTH", UpstreamAuth.API_KEY, UpstreamAuth)
    api_key_for = [
        name for name, auth in (("ADMIN_AUTH", admin_auth), ("QUERY_AUTH", query_auth)) if auth in _TAKES_API_KEY[name]
    ]
    entry = TenantEntry(
        tenant_id=TenantId(reader.identifier("TENANT_ID", what="the tenant's id at Phoenix")),
        hmac=reader.secret_source("INGESTION_HMAC_SECRET", required_for="it signs every event"),
        api_key=reader.secret_source(
            "ADMIN_API_KEY", required_for=f"{' and '.join(api_key_for)} need it" if api_key_for else None
        ),
        api_key_id=_api_key_id(reader, needed=admin_auth is UpstreamAuth.JWT),
    )
    return TenantConfig(
        keys=entry,
        ingestion_base_url=reader.base_url("INGESTION_BASE_URL"),
        admin_base_url=reader.base_url("ADMIN_BASE_URL"),
        query_base_url=reader.base_url("QUERY_BASE_URL"),
        # Phoenix documents it with a path that is not the signed one (gamification.md 4.2), so only the host is used.
        socket_base_url=reader.base_url("WEBSOCKET_URL", scheme="wss", path=True),
        admin_auth=admin_auth,
        query_auth=query_auth,
        socket_auth=reader.choice("WEBSOCKET_AUTH", SocketAuth.HMAC, SocketAuth),
        events=EventsSettings(
            sends_event_id=reader.flag("PHOENIX_SEND_EVENT_ID", True),
            deduplicates=_deduplicates(reader),
        ),
        bulk_events=reader.choice("PHOENIX_BULK_EVENTS", BulkEvents.OFF, BulkEvents),
    )


def _api_key_id(reader: Reader, *, needed: bool) -> str | None:
    text = reader.optional_text("ADMIN_API_KEY_ID")
    if text is None:
        if needed:
            reader.fault("ADMIN_API_KEY_ID", "is missing (ADMIN_AUTH jwt needs it)", "set it to the API key's UUID")
        return None
    try:
        return str(uuid.UUID(text))
    except ValueError:
        reader.fault("ADMIN_API_KEY_ID", "is not a UUID", "set it to the id of the API key, not to the key itself")
        return None


def _deduplicates(reader: Reader) -> bool:
    """Phoenix deduplicates by the id: without it in the body, an event that is sent again would count twice."""
    deduplicates = reader.flag("PHOENIX_DEDUPLICATES_EVENTS", False)
    if deduplicates and not reader.flag("PHOENIX_SEND_EVENT_ID", True):
        reader.fault(
            "PHOENIX_DEDUPLICATES_EVENTS",
            "is true while PHOENIX_SEND_EVENT_ID is false",
            "set it to true: Phoenix recognizes a duplicate by its id",
        )
    return deduplicates
