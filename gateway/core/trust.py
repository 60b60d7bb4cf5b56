"""Makes the verdict on a certificate the same on every supported Python, and for both fronts.

Python 3.13 set two flags by default that 3.11 and 3.12 do not set. VERIFY_X509_STRICT refuses certificates that lack
extensions which many company CAs leave out; grpc never asks for them. VERIFY_X509_PARTIAL_CHAIN trusts an intermediate
CA that is in the list of trusted ones; grpc always does. `doctor` says which extension a strict client would miss.
"""

from __future__ import annotations

import ssl


def as_on_every_python(context: ssl.SSLContext) -> ssl.SSLContext:
    """Set the flags of verification that all Pythons and grpc have in common; return the context."""
    context.verify_flags = (context.verify_flags & ~ssl.VERIFY_X509_STRICT) | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
