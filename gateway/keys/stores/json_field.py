"""The field of a secret whose content is a JSON object, as AWS's console and many teams write it."""

from __future__ import annotations

import json

from gateway.core.secret import Secret
from gateway.core.secret_reference import SecretReference
from gateway.core.secret_text import secret_meant
from gateway.keys.sources.store_failure import StoreCause, StoreFailed


def secret_of(content: bytes, reference: SecretReference) -> Secret:
    """Return the content, or the field of it that the reference names. Raises: StoreFailed, SecretRefused."""
    if not reference.field:
        return Secret(secret_meant(content))
    try:
        fields = json.loads(content)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise StoreFailed(
            StoreCause.WRONG_FIELD, f"{reference.path} is no JSON object; leave #{reference.field} out of the reference"
        )
    value = fields.get(reference.field)
    if not isinstance(value, str) or not value:
        what = "has no field" if value is None else "holds no text in field"
        raise StoreFailed(
            StoreCause.WRONG_FIELD, f"{reference.path} {what} {reference.field}; write it, or correct the reference"
        )
    return Secret(secret_meant(value.encode("utf-8", "surrogatepass")))
