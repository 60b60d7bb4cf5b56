"""Find the target of a kill switch from the text on the command line; refuse a text that can mean several targets.

Source: API.md, "Running it".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.core.switches import MAX_NAME_CHARS, Target, TargetKind

_STANDARD = "/grpc."


class TargetUnclear(ValueError):
    """The text matches no target, or several. The message says what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchTargets:
    """All targets that exist. `methods`: full paths; `operators`: as code/environment; `ids`: identities of callers."""

    methods: Iterable[str]
    tenants: Iterable[str] = ()
    operators: Iterable[str] = ()
    callers: Iterable[str] = ()
    ids: Mapping[str, str] = field(default_factory=dict)


def find_target(text: str, targets: SwitchTargets) -> tuple[Target, bool]:
    """Return the target of a text, and whether this gateway knows the target.

    Args: `text`: a name, or `kind:name`. A target that is unknown here is accepted only with its kind, because another
    replica may know it.
    Raises: TargetUnclear.
    """
    if not text or len(text) > MAX_NAME_CHARS or not text.isprintable():
        raise TargetUnclear("name a method, service, tenant, operator environment or caller")
    before, colon, name = text.partition(":")
    kind = next((one for one in TargetKind if colon and one.value == before), None)
    found = list(dict.fromkeys(_meant(text if kind is None else name, targets, kind)))
    if len(found) == 1:
        return found[0], True
    if found:
        raise TargetUnclear("can mean " + ", ".join(f"{one}" for one in found[:8]) + "; write one of these")
    if kind in (None, TargetKind.METHOD) or not name:
        raise TargetUnclear("matches nothing that can be switched off here; see `phoenix-gateway policy matrix`")
    return Target(kind=kind, name=name), False


def _meant(name: str, targets: SwitchTargets, kind: TargetKind | None) -> Iterator[Target]:
    if kind in (None, TargetKind.METHOD):
        for path in targets.methods:
            if not path.startswith(_STANDARD):
                yield from _methods(name.removesuffix("/*").lstrip("/"), path)
    if kind in (None, TargetKind.TENANT) and name in set(targets.tenants):
        yield Target(kind=TargetKind.TENANT, name=name)
    if kind in (None, TargetKind.OPERATOR):
        for scope in targets.operators:
            if name in (scope, scope.rpartition("/")[0]):
                yield Target(kind=TargetKind.OPERATOR, name=scope)
    if kind in (None, TargetKind.CALLER):
        caller = targets.ids.get(name, name)
        if caller in set(targets.callers):
            yield Target(kind=TargetKind.CALLER, name=caller)


def _methods(name: str, path: str) -> Iterator[Target]:
    """Yield the method for its full path, `Service/Method` or `Method`; the service for its full or short name."""
    service, _, method = path.lstrip("/").partition("/")
    short = service.rpartition(".")[2]
    if name in (f"{service}/{method}", f"{short}/{method}", method):
        yield Target(kind=TargetKind.METHOD, name=path)
    if name in (service, short):
        yield Target(kind=TargetKind.METHOD, name=f"/{service}/*")
