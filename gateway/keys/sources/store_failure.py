"""Why a store gave no secret: one cause for people and metrics, whichever library found it."""

from __future__ import annotations

import importlib.util
from enum import Enum

from gateway.core.secret import SecretRefused


class StoreCause(Enum):
    """What a person has to look at. The values are metric labels."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    SEALED = "sealed"
    LOGIN = "login"
    FORBIDDEN = "forbidden"
    NO_SUCH_PATH = "no_such_path"
    WRONG_FIELD = "wrong_field"
    UNUSABLE_ANSWER = "unusable_answer"
    NOT_INSTALLED = "not_installed"


class StoreFailed(SecretRefused):
    """The store gave no secret. The message says why and what to do."""

    def __init__(self, cause: StoreCause, message: str) -> None:
        """Keep the cause."""
        self.cause = cause
        super().__init__(message)


def need_extra(extra: str, *modules: str) -> None:
    """Raises: StoreFailed if the libraries of an optional extra are not installed."""
    for module in modules:
        try:
            found = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise StoreFailed(
                StoreCause.NOT_INSTALLED,
                f"needs the Python package {module.partition('.')[0]}; "
                f"install it with: pip install 'phoenix-gateway[{extra}]'",
            )
