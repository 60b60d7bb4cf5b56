"""Errors as google.rpc.Status: details, and a size that every client takes."""

from __future__ import annotations

from google.rpc import error_details_pb2

from gateway.errors import FieldFault, InvalidField
from gateway.services.status import status_of

DEFAULT_METADATA_BYTES = 8 * 1024
"""What a gRPC client takes of metadata when nothing else was set."""


def violations(error: InvalidField) -> list[tuple[str, str]]:
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status_of(error).details)
    return [(one.field, one.description) for one in bad.field_violations]


def size_on_the_wire(error: InvalidField) -> int:
    """The message percent-encoded and the details in base64, at worst."""
    status = status_of(error)
    return 3 * len(status.message.encode()) + (status.ByteSize() + 2) // 3 * 4


def test_few_faults_are_all_named() -> None:
    """Each with its path and what it must be."""
    error = InvalidField([FieldFault(field=f"f{number}", description="must be set") for number in range(30)])
    assert violations(error) == [(f"f{number}", "must be set") for number in range(30)]


def test_very_many_faults_still_fit_into_the_metadata_of_any_client() -> None:
    """As many as fit, then the number of the rest: a status that is too large would not arrive."""
    error = InvalidField([FieldFault(field=f"headers[{n}].value", description="must be short") for n in range(400)])
    found = violations(error)
    assert found[0] == ("headers[0].value", "must be short")
    assert found[-1] == ("", f"{400 - len(found) + 1} more faults are not listed")
    assert size_on_the_wire(error) < DEFAULT_METADATA_BYTES


def test_a_path_with_a_long_name_of_the_callers_still_fits() -> None:
    """The sender names the members of a Struct, in any script."""
    error = InvalidField(
        [FieldFault(field="event.metadata." + "\N{SNOWMAN}" * 20_000, description="must be finite")] * 9
    )
    assert violations(error)[0][0].startswith("event.metadata.\N{SNOWMAN}")
    assert size_on_the_wire(error) < DEFAULT_METADATA_BYTES
