"""The settings of a prediction operator in one environment."""

from __future__ import annotations

from gateway.config.setting import Form, Setting, Subject

OWN = Subject(
    title="Operator",
    note="What makes one operator environment. An `[[operators]]` table never inherits these from the process.",
    settings=(
        Setting(
            name="PREDICTION_OPERATOR_CODE", meaning="The operator's code at Phoenix.", unset="required for an operator"
        ),
        Setting(name="PREDICTION_ENVIRONMENT", meaning="`sandbox` or `prod`.", unset="required for an operator"),
        Setting(
            name="PREDICTION_LAUNCH_KEY",
            meaning=(
                "Ed25519 private key (PKCS#8 PEM). Signs launch tokens and Operator API requests. Its `_REF` may also"
                " name a key that stays in a store ([signers.md](signers.md))."
            ),
            unset="required for an operator",
            form=Form.SECRET,
        ),
        Setting(
            name="PREDICTION_OPERATOR_ID",
            meaning="The operator's id in wallet bodies. A signed body that names another id is refused.",
            unset="not checked",
        ),
        Setting(
            name="PREDICTION_CURRENCIES",
            meaning="Currencies that a player's launch token may name, separated by commas.",
            unset="the Operator API's list, see below",
            example="EUR,USD",
        ),
    ),
)

SHARED = Subject(
    title="Prediction: hosts, platform key, wallet and tokens",
    note="An `[[operators]]` table inherits each of these that it omits.",
    settings=(
        Setting(
            name="PREDICTION_BASE_URL",
            meaning="Host of the Operator API and of the platform key.",
            default="https://prediction.phoenixverse.io",
        ),
        Setting(
            name="PREDICTION_EMBED_URL",
            meaning="Host of the embedded page; part of `embed_url`.",
            default="https://embed.prediction.phoenixverse.io",
        ),
        Setting(
            name="PREDICTION_PLATFORM_KEY",
            meaning=(
                "Phoenix's public key (SPKI PEM). When set, no other key verifies a webhook, and the gateway does not"
                " fetch it. A file is read again every 2 s, and before a webhook is called forged. Then the key that"
                " Phoenix publishes is fetched too: what that one verifies gets 503, until the file is replaced."
            ),
            unset="fetched from Phoenix",
            form=Form.PUBLIC_FILE,
        ),
        Setting(
            name="PREDICTION_PLATFORM_KEY_SHA256",
            meaning="Pins: SHA-256 fingerprints of the SPKI (DER) that a platform key must have, separated by commas.",
            unset="no pins",
        ),
        Setting(
            name="PREDICTION_KEY_COOLDOWN",
            meaning="Shortest time between two fetches of the platform key.",
            unit="s",
            default="2",
        ),
        Setting(
            name="PREDICTION_KEY_OVERLAP",
            meaning=(
                "How long a webhook signed with a replaced platform key gets the verdict `KEY_RETIRED` (503)."
                " Afterwards it gets `BAD_SIGNATURE`."
            ),
            unit="s",
            default="600",
        ),
        Setting(
            name="PREDICTION_KEY_LEAD",
            meaning="How long a new launch key is published before it signs.",
            unit="s",
            default="300",
        ),
        Setting(
            name="PREDICTION_WALLET_LEASE",
            meaning="Time after which an unfinished wallet operation can be reclaimed.",
            unit="s",
            default="60",
        ),
        Setting(
            name="PREDICTION_UNREADABLE_STATUS",
            meaning="HTTP status for a signed operation that the gateway cannot interpret. Never 400, 401 or 403.",
            default="503",
        ),
        Setting(
            name="PREDICTION_HOLD_SUSPECT_REPLAYS",
            meaning=(
                "Operations to hold (`reserve_cash`, `release_cash`, `credit_cash`), separated by commas: a signed body"
                " already seen under a different idempotency key gets 503 and is not executed. Remove the operation"
                " from the list to release held moves on Phoenix's next retry."
            ),
            unset="none: such calls are flagged and counted",
            example="credit_cash",
        ),
        Setting(
            name="PREDICTION_KEEP_RESPONSE_BODIES",
            meaning=(
                "`false`: the gateway keeps only the SHA-256 of the wallet's answer, and the wallet answers replays"
                " from its own ledger."
            ),
            default="true",
        ),
        Setting(
            name="PREDICTION_WALLET_MEMBERS",
            meaning="Where wallet bodies keep which member, as `member=path` pairs; see below.",
            unset="see below",
            example="player=customer.id",
        ),
        Setting(
            name="PREDICTION_WALLET_SCALES",
            meaning="Decimal places of currencies whose whole amounts without a scale are minor units.",
            unset="such an amount is kept as text and not interpreted",
            example="EUR=2, JPY=0",
        ),
        Setting(
            name="PREDICTION_LAUNCH_AUDIENCE",
            meaning="Claim `aud` of launch tokens. `none` omits the claim.",
            default="pmm_default",
        ),
        Setting(name="PREDICTION_LAUNCH_TYP", meaning="`true`: launch tokens carry the claim `typ`.", default="true"),
        Setting(
            name="PREDICTION_LAUNCH_MAX_TTL",
            meaning="Longest lifetime of a launch token, at most 3600.",
            unit="s",
            default="3600",
        ),
        Setting(
            name="PREDICTION_OPERATOR_SIGNATURE",
            meaning="Signature form of the Operator API: `six` parts, or `five` for the older generation.",
            default="six",
        ),
        Setting(
            name="PREDICTION_STATS_PATH",
            meaning="Path of the operator's statistics, which Phoenix does not document.",
            default="/operator/api/stats",
        ),
    ),
)
