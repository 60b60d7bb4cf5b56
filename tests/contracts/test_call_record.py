"""Each field of a call's record is set by the modules that are named here, and no middleware is found by reflection."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

from gateway.actions.shared.call_record import CallRecord, WalletRecord

GATEWAY = Path(__file__).resolve().parents[2] / "gateway"
DIRECTORY = "actions/shared/directory.py"
MINT = "actions/tokens/mint_tokens.py"
VERIFY = "actions/wallet/verify_wallet.py"
OUTCOME = "actions/wallet/record_outcome.py"
KEYS = "actions/admin/describe_keys.py"
AUDIT = "interceptors/audit.py"
CALL_LOG = "interceptors/call_log.py"
EVENT_STORIES = "actions/events/event_stories.py"
SET_BY = {
    "tenant": {DIRECTORY},
    # A wallet's outcome may name no operator; a batch of tokens may name several.
    "operator": {DIRECTORY, OUTCOME, MINT},
    "environment": {DIRECTORY, OUTCOME, MINT},
    # One action for each method; Audit and the log set it where the action does not know it.
    "key_id": {MINT, VERIFY, KEYS, AUDIT, CALL_LOG},
    "failed": {EVENT_STORIES},
    "failure": {EVENT_STORIES},
    "source": {"services/leaderboards.py"},
    "events": {"actions/events/submit_events.py"},
    "delivery": {"actions/events/submit_events.py"},
    "claims_sha256": {MINT},
    "count": {MINT, "actions/events/dead_letters.py"},
    "wallet": {VERIFY, OUTCOME, "actions/wallet/settle_unreadable.py"},
    "kind": {"actions/admin/operator_settings.py"},
    "surface": {"actions/admin/call_phoenix.py"},
    "path": {"actions/admin/call_phoenix.py"},
    "error": {CALL_LOG},
}
WALLET = {field.name for field in fields(WalletRecord)}


def test_every_field_is_set_by_the_modules_that_are_named() -> None:
    """A reader finds in this table where a value in the log comes from."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in GATEWAY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for name in _assigned(node):
                found[name].add(path.relative_to(GATEWAY).as_posix())
    of_call = {name: modules for name, modules in found.items() if name not in WALLET}
    assert of_call == SET_BY
    assert {name: modules for name, modules in found.items() if name in WALLET} == {
        name: {VERIFY} for name in WALLET - {"attempt"}
    }


def test_the_table_names_every_field() -> None:
    """A new field gets its row."""
    assert set(CallRecord.__slots__) == set(SET_BY)


def test_the_interceptors_look_nothing_up_by_name() -> None:
    """Hooks are declared by classes that a type checker sees."""
    by_name = {"getattr", "hasattr", "vars", "dir"}
    wrong = [
        f"{path.name}:{node.lineno}"
        for path in (GATEWAY / "interceptors").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id in by_name
    ]
    assert wrong == []


def _assigned(node: ast.AST) -> list[str]:
    """Return the attributes that a statement sets on `record` or on `<anything>.record`."""
    if not isinstance(node, ast.Assign):
        return []
    targets = [one for target in node.targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [one.attr for one in targets if isinstance(one, ast.Attribute) and _is_record(one.value)]


def _is_record(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "record") or (
        isinstance(node, ast.Attribute) and node.attr == "record"
    )
