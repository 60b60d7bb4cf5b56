"""The guides of stores that sign: their references are read. tests/integration/test_signer_guides.py follows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.core.secret_reference import SIGNER_SCHEMES, parse_reference
from gateway.keys.signers.pkcs11_uri import parse_pkcs11

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDES = sorted(DOCS.glob("signers-*.md"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_the_reference_of_a_guide_is_read(guide: Path) -> None:
    """As the gateway reads it."""
    (text,) = re.findall(r"^PREDICTION_LAUNCH_KEY_REF=(\S+)$", guide.read_text(), re.MULTILINE)
    reference = parse_reference(text, SIGNER_SCHEMES)
    if reference.scheme.value == "pkcs11":
        parse_pkcs11(str(reference))


def test_there_is_a_guide_for_each_store() -> None:
    """Named in the overview."""
    assert {"signers-aws", "signers-gcp", "signers-pkcs11", "signers-transit"} == {one.stem for one in GUIDES}
    overview = (DOCS / "signers.md").read_text()
    assert all(f"({one.name})" in overview for one in GUIDES)
