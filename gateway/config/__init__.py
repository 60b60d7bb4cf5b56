"""Environment, `.env` and TOML file to one frozen `Config`; every fault is reported at once, by name, never by value.

`load` is the entry point. The parts: names.py (which settings exist), sources.py (where a value comes from), values.py
(what a text must be), tenants.py, operators.py and process.py (one subject each), model.py (the result). Source:
API.md, "Running it".
"""

from gateway.config.faults import ConfigInvalid, Fault
from gateway.config.load import admin_address, load
from gateway.config.model import (
    BulkEvents,
    Config,
    DrainTimes,
    FrontKind,
    Listen,
    LogFormat,
    LogLevel,
    OperatorConfig,
    RedisConfig,
    TenantConfig,
    TlsFiles,
)

__all__ = [
    "BulkEvents",
    "Config",
    "ConfigInvalid",
    "DrainTimes",
    "Fault",
    "FrontKind",
    "Listen",
    "LogFormat",
    "LogLevel",
    "OperatorConfig",
    "RedisConfig",
    "TenantConfig",
    "TlsFiles",
    "admin_address",
    "load",
]
