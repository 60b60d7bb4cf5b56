"""Every way a call can fail, by whose fault it is.

GatewayError
├── CallerFault           the caller can correct it
│   ├── InvalidField          INVALID_ARGUMENT     names the fields
│   ├── TenantUnknown, OperatorUnknown, KeyUnknown   NOT_FOUND
│   ├── NotAllowed            PERMISSION_DENIED
│   ├── RateLimited, Overloaded   RESOURCE_EXHAUSTED
│   ├── DeadlineTooShort      DEADLINE_EXCEEDED
│   ├── EventIdReused         ALREADY_EXISTS
│   └── WindowChanged, StaleAttempt, OutcomeDiffers   FAILED_PRECONDITION
├── UpstreamFault         Phoenix, or the way there
│   ├── PhoenixRefusedInput, PhoenixRejectedCredentials, PhoenixForbidden, PhoenixNotFound,
│   │   PhoenixConflict, PhoenixRefusedState, BoardNotActive, PhoenixRateLimited    it said no
│   ├── PhoenixUnavailable, PhoenixAnswerUnreadable, PhoenixTimeout, CircuitOpen    certainly nothing was done
│   └── OutcomeUnknown        UNKNOWN              Phoenix may have acted, or acted and gave no readable answer
├── StoreFault
│   └── StoreUnavailable, AuditUnavailable   UNAVAILABLE
└── OwnFault
    ├── Disabled              UNAVAILABLE          switched off by the gateway's operators
    ├── SigningKeyUnavailable UNAVAILABLE          the store that keeps the launch key does not sign
    ├── Stopping              UNAVAILABLE          the process is about to end
    └── InternalFault         INTERNAL, fixed text

A class holds what never changes of its kind: `reason` (status detail, metric label, test) and
`code` (the google.rpc code's name). An instance holds a message for the caller: what was wrong and
what to do; never a secret, a signature, a token or an upstream body. It also holds `effect`: did
Phoenix act? Whatever asks that (memory of event ids, durable delivery, retries, RetryInfo, the
command line) reads this value and infers it from nothing else. UNAVAILABLE is what clients, meshes
and proxies send again by themselves, so no error of that code can have another effect than NONE.
Turning an error into a status happens at one place, `gateway/services/status.py`. Source: API.md, "Reasons".
"""

from __future__ import annotations

from gateway.errors.base import CallerFault, Effect, GatewayError, OwnFault, StoreFault, UpstreamFault
from gateway.errors.caller import (
    AnswerTooLarge,
    DeadlineTooShort,
    EventIdReused,
    FieldFault,
    InvalidField,
    KeyUnknown,
    NotAllowed,
    OperatorUnknown,
    OutcomeDiffers,
    Overloaded,
    RateLimited,
    StaleAttempt,
    TenantUnknown,
    WindowChanged,
)
from gateway.errors.own import (
    AuditUnavailable,
    Disabled,
    InternalFault,
    SigningKeyUnavailable,
    Stopping,
    StoreUnavailable,
)
from gateway.errors.upstream import (
    BoardNotActive,
    CircuitOpen,
    OutcomeUnknown,
    PhoenixAnswerUnreadable,
    PhoenixConflict,
    PhoenixForbidden,
    PhoenixNotFound,
    PhoenixRateLimited,
    PhoenixRefusedInput,
    PhoenixRefusedState,
    PhoenixRejectedCredentials,
    PhoenixTimeout,
    PhoenixUnavailable,
)

__all__ = [
    "AnswerTooLarge",
    "AuditUnavailable",
    "BoardNotActive",
    "CallerFault",
    "CircuitOpen",
    "DeadlineTooShort",
    "Disabled",
    "Effect",
    "EventIdReused",
    "FieldFault",
    "GatewayError",
    "InternalFault",
    "InvalidField",
    "KeyUnknown",
    "NotAllowed",
    "OperatorUnknown",
    "OutcomeDiffers",
    "OutcomeUnknown",
    "Overloaded",
    "OwnFault",
    "PhoenixAnswerUnreadable",
    "PhoenixConflict",
    "PhoenixForbidden",
    "PhoenixNotFound",
    "PhoenixRateLimited",
    "PhoenixRefusedInput",
    "PhoenixRefusedState",
    "PhoenixRejectedCredentials",
    "PhoenixTimeout",
    "PhoenixUnavailable",
    "RateLimited",
    "SigningKeyUnavailable",
    "StaleAttempt",
    "Stopping",
    "StoreFault",
    "StoreUnavailable",
    "TenantUnknown",
    "UpstreamFault",
    "WindowChanged",
]
