"""Lists of kill switches: merging, invalid lists, and the names that an operator may give."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.switch_targets import SwitchTargets, TargetUnclear, find_target
from gateway.core.switches import (
    MAX_AHEAD_MS,
    MAX_SWITCHES,
    Switch,
    Switches,
    SwitchesUnreadable,
    Target,
    TargetKind,
    decode_switches,
    encode_switches,
)

MINT = "/phoenix.gateway.v1.TokenService/MintLaunchJWT"
ADMIN = "/phoenix.gateway.v1.TokenService/MintAdminJWT"
VERIFY = "/phoenix.gateway.v1.WalletService/VerifyWallet"
TENANT = Target(kind=TargetKind.TENANT, name="t")

targets = st.builds(
    Target, kind=st.sampled_from(TargetKind), name=st.sampled_from(["a", "b", "c", "/p.S/M", "acme/sandbox"])
)
decisions = st.builds(
    Switch,
    target=targets,
    is_off=st.booleans(),
    at_ms=st.integers(0, 9),
    reason=st.sampled_from(["", "x", "ü"]),
    by=st.sampled_from(["", "me"]),
)


def listed(*made: Switch) -> Switches:
    merged = Switches()
    for one in made:
        merged = merged.merged(Switches({one.target: one}))
    return merged


lists = st.lists(decisions, max_size=8).map(lambda made: listed(*made))


def decided(is_off: bool, at_ms: int, target: Target = TENANT) -> Switch:
    return Switch(target=target, is_off=is_off, at_ms=at_ms, reason="", by="")


@settings(deadline=None)
@given(lists, lists, lists)
def test_the_order_of_merging_does_not_matter(a: Switches, b: Switches, c: Switches) -> None:
    """However lists travel, all replicas end with the same one."""
    assert a.merged(b).by_target == b.merged(a).by_target
    assert a.merged(b).merged(c).by_target == a.merged(b.merged(c)).by_target


@settings(deadline=None)
@given(lists, lists)
def test_an_old_list_changes_nothing(a: Switches, b: Switches) -> None:
    """A second merge changes nothing and returns the same object."""
    together = a.merged(b)
    assert together.merged(a) is together
    assert together.merged(b) is together


@settings(deadline=None)
@given(lists)
def test_a_list_survives_its_bytes(a: Switches) -> None:
    """And the same list gives the same bytes."""
    data = encode_switches(a)
    assert decode_switches(data, now_ms=9).by_target == a.by_target
    assert encode_switches(decode_switches(data, now_ms=9)) == data


def test_a_replayed_list_from_before_switches_nothing_back() -> None:
    """Neither off again nor on again."""
    first, second, third = listed(decided(True, 1)), listed(decided(False, 2)), listed(decided(True, 3))
    assert first.merged(second).merged(first).off == []
    assert [one.at_ms for one in third.merged(second).merged(first).off] == [3]


def test_a_decision_is_newer_than_what_it_replaces_whatever_the_clock_says() -> None:
    """A host whose clock is behind can still switch on what another switched off."""
    off = Switches().decided(TENANT, is_off=True, reason="r", by="b", now_ms=5_000)
    assert off.decided(TENANT, is_off=False, reason="", by="", now_ms=1).off == []


def test_what_is_off_is_never_forgotten_for_want_of_room() -> None:
    """Decisions to switch on again go first."""
    off = [decided(True, 1, Target(kind=TargetKind.CALLER, name=f"off{number}")) for number in range(10)]
    on = [decided(False, 2, Target(kind=TargetKind.CALLER, name=f"on{number}")) for number in range(MAX_SWITCHES)]
    merged = Switches({one.target: one for one in off}).merged(Switches({one.target: one for one in on}))
    assert len(merged.by_target) == MAX_SWITCHES
    assert merged.off == sorted(off, key=lambda one: one.rank)


def test_a_service_that_is_off_has_all_its_methods_off() -> None:
    """And no other service's."""
    service = Target(kind=TargetKind.METHOD, name="/phoenix.gateway.v1.TokenService/*")
    switches = listed(decided(True, 1, service))
    assert switches.methods_off([MINT, ADMIN, VERIFY]) == {MINT, ADMIN}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"form": 2, "switches": []}',
        b'{"form": 1, "switches": {}, "more": 1',
        b'{"form": 1, "switches": [1]}',
        b'{"form": 1, "switches": [{"kind": "tenant", "name": "t"}]}',
        b"[" * 100_000,
        b" " * 600_000,
    ],
)
def test_what_is_no_list_is_refused(data: bytes) -> None:
    """Whatever the bytes."""
    with pytest.raises(SwitchesUnreadable):
        decode_switches(data, now_ms=10)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("kind", "planet"), ("kind", None), ("name", ""), ("name", 7), ("name", "x" * 400), ("off", 1), ("off", "true"),
        ("at_ms", -1), ("at_ms", 1.5), ("at_ms", True), ("at_ms", 1 << 60), ("at_ms", 10 + MAX_AHEAD_MS + 1),
        ("reason", None), ("reason", "x" * 300), ("by", []),
    ],
)  # fmt: skip
def test_a_member_that_will_not_do_refuses_the_list(member: str, value: object) -> None:
    """One wrong row is no reason to believe the others."""
    row = {"kind": "tenant", "name": "t", "off": True, "at_ms": 5, "reason": "", "by": "", member: value}
    good = {"kind": "caller", "name": "c", "off": True, "at_ms": 5, "reason": "", "by": ""}
    with pytest.raises(SwitchesUnreadable):
        decode_switches(json.dumps({"form": 1, "switches": [good, row]}).encode(), now_ms=10)


KNOWN = SwitchTargets(
    methods=[MINT, ADMIN, VERIFY, "/grpc.health.v1.Health/Check"],
    tenants=["t1", "both"],
    operators=["acme/sandbox", "acme/prod", "solo/prod"],
    callers=["game", "both"],
    ids={"spiffe://dev/game": "game"},
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("MintLaunchJWT", f"method:{MINT}"),
        ("TokenService/MintLaunchJWT", f"method:{MINT}"),
        (MINT, f"method:{MINT}"),
        (MINT[1:], f"method:{MINT}"),
        ("method:MintLaunchJWT", f"method:{MINT}"),
        ("TokenService", "method:/phoenix.gateway.v1.TokenService/*"),
        ("phoenix.gateway.v1.TokenService", "method:/phoenix.gateway.v1.TokenService/*"),
        ("/phoenix.gateway.v1.TokenService/*", "method:/phoenix.gateway.v1.TokenService/*"),
        ("t1", "tenant:t1"),
        ("acme/prod", "operator:acme/prod"),
        ("solo", "operator:solo/prod"),
        ("game", "caller:game"),
        ("spiffe://dev/game", "caller:game"),
        ("tenant:both", "tenant:both"),
        ("caller:both", "caller:both"),
    ],
)
def test_a_name_means_what_there_is(text: str, meant: str) -> None:
    """Short where that is clear, with its kind otherwise."""
    target, is_known = find_target(text, KNOWN)
    assert (str(target), is_known) == (meant, True)


@pytest.mark.parametrize("text", ["both", "acme", "", "nothing", "Health", "Check", "method:Nope", "a\nb", "x" * 999])
def test_a_name_that_means_nothing_or_several_things_is_refused(text: str) -> None:
    """A switch that is thrown by mistake, or not thrown at all, is worse than a question."""
    with pytest.raises(TargetUnclear):
        find_target(text, KNOWN)


def test_what_another_machine_may_know_is_believed_with_its_kind() -> None:
    """But it is reported as unknown."""
    assert find_target("caller:spiffe://other/x", KNOWN) == (
        Target(kind=TargetKind.CALLER, name="spiffe://other/x"),
        False,
    )
