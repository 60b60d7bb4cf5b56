"""What an operator means by METHOD, TENANT or CALLER: found among what there is, refused where it may mean several.

Source: issue 8, point 8; API.md, "Running it".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.core.switches import MAX_NAME_CHARS, Target, TargetKind

_STANDARD = "/grpc."


class TargetUnclear(ValueError):
    """The text means nothing, or several things; the message says what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What can be switched off. `methods`: full paths; `operators`: as code/environment; `ids`: callers' identities."""

    methods: Iterable[str]
    tenants: Iterable[str] = ()
    operators: Iterable[str] = ()
    callers: Iterable[str] = ()
    ids: Mapping[str, str] = field(default_factory=dict)


def find_target(text: str, known: Known) -> tuple[Target, bool]:
    """Return what a text means, and whether it is among what there is.

    Args: `text`: a name, or `kind:name`. Only with its kind is something believed to be meant that is not known here:
    another machine may know it.
    Raises: TargetUnclear.
    """
    if not text or len(text) > MAX_NAME_CHARS or not text.isprintable():
        raise TargetUnclear("name a method, service, tenant, operator environment or caller")
    before, colon, name = text.partition(":")
    kind = next((one for one in TargetKind if colon and one.value == before), None)
    found = list(dict.fromkeys(_meant(text if kind is None else name, known, kind)))
    if len(found) == 1:
        return found[0], True
    if found:
        raise TargetUnclear("may mean " + ", ".join(f"{one}" for one in found[:8]) + "; write one of these")
    if kind in (None, TargetKind.METHOD) or not name:
        raise TargetUnclear("names nothing that can be switched off here; see `phoenix-gateway policy matrix`")
    return Target(kind=kind, name=name), False


def _meant(name: str, known: Known, kind: TargetKind | None) -> Iterator[Target]:
    if kind in (None, TargetKind.METHOD):
        for path in known.methods:
            if not path.startswith(_STANDARD):
                yield from _methods(name.removesuffix("/*").lstrip("/"), path)
    if kind in (None, TargetKind.TENANT) and name in set(known.tenants):
        yield Target(kind=TargetKind.TENANT, name=name)
    if kind in (None, TargetKind.OPERATOR):
        for scope in known.operators:
            if name in (scope, scope.rpartition("/")[0]):
                yield Target(kind=TargetKind.OPERATOR, name=scope)
    if kind in (None, TargetKind.CALLER):
        caller = known.ids.get(name, name)
        if caller in set(known.callers):
            yield Target(kind=TargetKind.CALLER, name=caller)


def _methods(name: str, path: str) -> Iterator[Target]:
    """A method by its full path, `Service/Method` or `Method`; a service by either of its names."""
    service, _, method = path.lstrip("/").partition("/")
    short = service.rpartition(".")[2]
    if name in (f"{service}/{method}", f"{short}/{method}", method):
        yield Target(kind=TargetKind.METHOD, name=path)
    if name in (service, short):
        yield Target(kind=TargetKind.METHOD, name=f"/{service}/*")
