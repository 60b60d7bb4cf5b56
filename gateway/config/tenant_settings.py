"""The settings of a gamification tenant."""

from __future__ import annotations

from gateway.config.setting import Form, Setting, Subject

OWN = Subject(
    title="Tenant",
    note="What makes one tenant. A `[[tenants]]` table never inherits these from the process.",
    settings=(
        Setting(name="TENANT_ID", meaning="The tenant's id at Phoenix.", unset="required for a tenant"),
        Setting(
            name="ADMIN_API_KEY",
            meaning="Authenticates the gateway at the admin and query hosts.",
            unset="required where `ADMIN_AUTH` or `QUERY_AUTH` uses it",
            form=Form.SECRET,
        ),
        Setting(
            name="ADMIN_API_KEY_ID",
            meaning="The UUID of the API key. `ADMIN_AUTH=jwt` and `MintAdminJWT` need it.",
        ),
        Setting(
            name="INGESTION_HMAC_SECRET",
            meaning="Signs requests to Phoenix and tenant JWTs.",
            unset="required for a tenant",
            form=Form.SECRET,
        ),
    ),
)

SHARED = Subject(
    title="Phoenix's gamification hosts",
    note="A `[[tenants]]` table inherits each of these that it omits.",
    settings=(
        Setting(
            name="INGESTION_BASE_URL",
            meaning="Host that takes events: `https://host[:port]`. `http://` is allowed on loopback only.",
            unset="required for a tenant",
        ),
        Setting(name="ADMIN_BASE_URL", meaning="Host of the admin API, same form.", unset="required for a tenant"),
        Setting(name="QUERY_BASE_URL", meaning="Host of the query API, same form.", unset="required for a tenant"),
        Setting(
            name="WEBSOCKET_URL",
            meaning="Host of live leaderboards: `wss://host[:port]`. A path in it is ignored.",
            unset="required for a tenant",
        ),
        Setting(
            name="ADMIN_AUTH",
            meaning="How the gateway authenticates at the admin host: `api_key`, `bearer`, `hmac` or `jwt`.",
            default="api_key",
        ),
        Setting(
            name="QUERY_AUTH",
            meaning="How the gateway authenticates at the query host: `api_key`, `bearer`, `hmac` or `jwt`.",
            default="api_key",
        ),
        Setting(
            name="WEBSOCKET_AUTH",
            meaning=(
                "How the gateway opens the live socket. `hmac`: tenant in the path, signed query. `bearer`: Phoenix's"
                " newer path with a tenant JWT."
            ),
            default="hmac",
        ),
        Setting(
            name="PHOENIX_SEND_EVENT_ID",
            meaning="`true`: events carry their `event_id` to Phoenix.",
            default="true",
        ),
        Setting(
            name="PHOENIX_BULK_EVENTS",
            meaning=(
                "Whether the gateway sends many events in one request, and in which envelope: `off`, `array` or"
                ' `events` (`{"events": [...]}`).'
            ),
            default="off",
        ),
        Setting(
            name="PHOENIX_DEDUPLICATES_EVENTS",
            meaning=(
                "`true`: Phoenix counts an `event_id` once, so the gateway may send an event again after a lost answer."
                " `phoenix-gateway doctor --prove-events BOARD` finds out."
            ),
            default="false",
        ),
    ),
)
