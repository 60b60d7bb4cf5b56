"""What an exception of `requests` means. hvac and google-auth send by it, and let its exceptions through."""

from __future__ import annotations

from requests import exceptions

from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.bounded_answers import AnswerTooLarge

Failure = exceptions.RequestException


def failure_of(error: exceptions.RequestException, host: str) -> StoreFailed:
    """Return the failure. Args: `host`: the store's address, for the message."""
    if isinstance(error, exceptions.SSLError):
        return StoreFailed(
            StoreCause.TLS,
            f"TLS with {host} fails: its certificate is not trusted, or not for this name; check the CA file",
        )
    if isinstance(error, AnswerTooLarge):
        return StoreFailed(StoreCause.UNUSABLE_ANSWER, f"{host} gives an answer without an end; check the address")
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return StoreFailed(StoreCause.TIMEOUT, f"{host} does not answer in time; check the address and its load")
    if isinstance(error, exceptions.ConnectionError):
        return StoreFailed(StoreCause.UNREACHABLE, f"{host} cannot be reached; check the address and that it runs")
    return StoreFailed(StoreCause.UNUSABLE_ANSWER, f"{host} does not answer as HTTP does; check the address")
