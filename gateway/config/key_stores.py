"""Reads the reference of a launch key that stays in its store, and makes the store. Nothing is asked there yet."""

from __future__ import annotations

from typing import Final

from gateway.config import names
from gateway.config.values import Reader
from gateway.core.secret import SecretRefused
from gateway.core.secret_reference import SIGNER_SCHEMES, ReferenceRefused, parse_reference
from gateway.keys.signers.open_store import open_key_store
from gateway.keys.signers.store import KeyStore

_NAME = "PREDICTION_LAUNCH_KEY"


class Unusable:
    """A reference of which a fault was recorded: nothing else is read in its place."""


_UNUSABLE: Final = Unusable()


def read_key_store(reader: Reader) -> KeyStore | Unusable | None:
    """Return the store of the launch key; None if the setting names no store that signs. The reader has the faults."""
    found = reader.scope.get(f"{_NAME}_REF")
    if found is None or found.text.strip().partition(":")[0] not in {one.value for one in SIGNER_SCHEMES}:
        return None
    for form in (_NAME, f"{_NAME}_FILE"):
        if (other := reader.scope.get(form)) is not None:
            reader.faults.add(other.setting, f"is set, and so is {found.setting}", "set one of the two")
    text = found.text.strip()
    try:
        reference = parse_reference(text, names.schemes_of(_NAME))
        return open_key_store(reference, reader.stores.vault, google_kms=reader.stores.gcp_kms_url)
    except ReferenceRefused as refused:
        reader.faults.add(found.setting, refused.problem, refused.remedy)
    except SecretRefused as refusal:
        problem, _, remedy = str(refusal).partition("; ")
        reader.faults.add(found.setting, f"{text}: {problem}", remedy)
    return _UNUSABLE
