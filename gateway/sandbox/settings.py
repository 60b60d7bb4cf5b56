"""Settings that the control listener can change: behaviour that the vendor's documentation leaves open."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from gateway.sandbox.control_input import InvalidControlRequest

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
    """The current settings.

    dedupe, dedupe_window_s: whether and how long a repeated event_id is ignored (source: Events and Integration).
    duplicate_status: the status of a repeat: 202 as for the first event; 200 and 409 say "duplicate".
    bulk, bulk_envelope, bulk_failure, bulk_partial_status: undocumented details of POST /v1/events/bulk.
    max_body_bytes: the documented "1 MB", taken as 10^6.
    read_shape, extra_members, unranked, max_limit: undocumented details of reads.
    extra_bytes: size of a member that every entry of a read has besides.
    operator_signature: accept the form with six parts, the older form with five parts, or both.
    wallet_*: undocumented details of wallet bodies: which members they have, and the form of an amount.
    record, count_effects: what tests can inspect. Turn both off to save memory under long load.
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
    extra_bytes: int = 0
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
        """Change all named settings. Raise InvalidControlRequest and change nothing if a name or value is invalid."""
        known = {each.name: each.type for each in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise InvalidControlRequest(f"{name}: unknown setting")
            if name in CHOICES:
                if value not in CHOICES[name] or isinstance(value, bool):
                    raise InvalidControlRequest(f"{name}: must be one of {', '.join(map(str, CHOICES[name]))}")
            elif isinstance(getattr(self, name), bool):
                if not isinstance(value, bool):
                    raise InvalidControlRequest(f"{name}: must be true or false")
            elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidControlRequest(f"{name}: must be a positive integer")
        for name, value in changes.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """Return all settings by name."""
        return asdict(self)
