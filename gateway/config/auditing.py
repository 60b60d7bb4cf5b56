"""Reads where the audit log is kept, and whether secrets may be used without it."""

from __future__ import annotations

from pathlib import Path

from gateway.config.model import AuditConfig
from gateway.config.values import Reader


def read_audit(reader: Reader) -> AuditConfig | None:
    """Return the audit settings; None if there is no audit log.

    Only the folder must exist: the file, and whether it can be written, may change while the gateway runs.
    """
    required = reader.flag("GATEWAY_AUDIT_REQUIRED", False)
    found = reader.scope.get("GATEWAY_AUDIT_FILE")
    if found is None:
        if required:
            remedy = "set it, or remove GATEWAY_AUDIT_REQUIRED"
            reader.fault("GATEWAY_AUDIT_FILE", "is missing while the audit is required", remedy)
        return None
    path = found.folder / Path(found.text.strip().replace("\0", "?"))
    if path.is_dir():
        reader.fault("GATEWAY_AUDIT_FILE", "is a folder", "name a file in it")
    elif not path.parent.is_dir():
        reader.fault("GATEWAY_AUDIT_FILE", "is in a folder that does not exist", "create the folder, mode 0700")
    return AuditConfig(file=path, required=required)
