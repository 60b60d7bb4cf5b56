"""Codes of AWS's errors that a message may show. Whatever answers in AWS's place may have put a secret there."""

from __future__ import annotations

_DOCUMENTED = frozenset({
    "AccessDenied", "AccessDeniedException", "DecryptionFailure", "DependencyTimeoutException", "DisabledException",
    "ExpiredTokenException", "IncompleteSignature", "InternalFailure", "InternalServiceError",
    "InvalidClientTokenId", "InvalidGrantTokenException", "InvalidKeyUsageException", "InvalidParameterException",
    "InvalidRequestException", "InvalidSignatureException", "KMSInternalException", "KMSInvalidStateException",
    "KeyUnavailableException", "LimitExceededException", "MissingAuthenticationTokenException", "NotFoundException",
    "RequestExpired", "ServiceUnavailable", "Throttling", "ThrottlingException", "UnrecognizedClientException",
    "ValidationException",
})  # fmt: skip


def shown(code: str) -> str:
    """Return the code if AWS documents it, else words in its place."""
    return code if code in _DOCUMENTED else "an error that is not documented"
