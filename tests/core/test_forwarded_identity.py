"""What a proxy's header names, and what it must not be taken to name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.forwarded_identity import forwarded_names

GAME = "spiffe://d.internal/game"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"URI={GAME}", (GAME,)),
        (f'By=spiffe://d/proxy;Hash=468e;Subject="CN=a,O=\\"b\\"";URI={GAME};DNS=a.example;DNS=B.example',
         (GAME, "a.example", "b.example")),
        (f'uri="{GAME}"', (GAME,)),
        ("DNS=a.example", ("a.example",)),
        (f"URI=spiffe://d/other,URI={GAME}", (GAME,)),
        (f"URI={GAME},Hash=1", ()),
        (f"URI={GAME};URI=spiffe://d/other;DNS=a.example", ("a.example",)),
        ("URI=https://a.example/x", ()),
        (f'Subject="x;URI={GAME}"', ()),
        (f'Subject="x\\";URI={GAME}"', ()),
        (f'URI={GAME};Subject="unfinished', ()),
        (f"URI={GAME},", ()),
        (f"URI={GAME};garbage", ()),
        (f"URI {GAME}", ()),
        ("", ()),
        (f"URI={GAME};Hash=" + "0" * 13000, ()),
    ],
)  # fmt: skip
def test_the_last_client_is_named(header: str, expected: tuple[str, ...]) -> None:
    """By its single SPIFFE id, then its DNS names. No caller if the header cannot be parsed completely."""
    assert expected == forwarded_names(header)


@given(st.text(alphabet='URIDNS=;,"\\ aspiffe:/', max_size=60))
def test_no_header_breaks_it(header: str) -> None:
    """For any input, the result is names of the header or nothing."""
    for name in forwarded_names(header):
        assert name.lower() in header.replace("\\", "").lower()
