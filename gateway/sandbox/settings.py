"""What the control listener can change about the sandbox's manners, where the vendor's facts leave the choice open."""

from dataclasses import asdict, dataclass, fields
from typing import Any


class BadSetting(ValueError):
    """A setting or value that does not exist; the text names it."""


CHOICES: dict[str, tuple[object, ...]] = {
    "duplicate_status": (202, 200, 409),
    "bulk": ("on", "404", "405"),
    "bulk_envelope": ("object", "array", "both"),
    "bulk_failure": ("all_or_nothing", "partial"),
    "bulk_partial_status": (202, 207),
    "read_shape": ("default", "camel", "wrapped", "data"),
    "unranked": ("404", "null", "zero"),
    "operator_signature": ("six", "five", "both"),
    "wallet_amount": ("value", "scaled", "text"),
}


@dataclass(slots=True, kw_only=True)
class Settings:
    """Current manners; the defaults are what issue and API.md say the sandbox runs with.

    dedupe, dedupe_window_s: whether and how long a repeated event_id is ignored (page: Events and Integration).
    duplicate_status: reply to a repeat: 202 looks like the first one, 200 and 409 say "duplicate".
    bulk, bulk_envelope, bulk_failure, bulk_partial_status: the unknown parts of POST /v1/events/bulk.
    max_body_bytes: "1 MB", read strictly as 10^6.
    read_shape, extra_members, unranked, max_limit: the unknown parts of reads.
    operator_signature: six parts, the older five, or either.
    wallet_*: the unknown parts of wallet bodies: which members are there, how an amount looks.
    record, count_effects: what is kept for tests; off saves memory under long loads.
    """

    dedupe: bool = True
    dedupe_window_s: int = 300
    duplicate_status: int = 202
    bulk: str = "on"
    bulk_envelope: str = "both"
    bulk_failure: str = "all_or_nothing"
    bulk_partial_status: int = 202
    max_body_bytes: int = 1_000_000
    read_shape: str = "default"
    extra_members: bool = False
    unranked: str = "404"
    max_limit: int = 1000
    operator_signature: str = "six"
    wallet_body_key: bool = True
    wallet_body_operator: bool = True
    wallet_body_environment: bool = True
    wallet_amount: str = "value"
    record: bool = True
    count_effects: bool = True

    def apply(self, changes: dict[str, Any]) -> None:
        """Change all named settings, or none: raises BadSetting at the first unknown name or value."""
        known = {each.name: each.type for each in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise BadSetting(f"{name}: no such setting")
            if name in CHOICES:
                if value not in CHOICES[name] or isinstance(value, bool):
                    raise BadSetting(f"{name}: one of {', '.join(map(str, CHOICES[name]))}")
            elif isinstance(getattr(self, name), bool):
                if not isinstance(value, bool):
                    raise BadSetting(f"{name}: true or false")
            elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadSetting(f"{name}: a positive integer")
        for name, value in changes.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """Return all settings by name."""
        return asdict(self)
