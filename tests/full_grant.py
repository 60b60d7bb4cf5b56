"""What a call may do in tests that are about something else."""

from gateway.core.rights import Grant

FULL_GRANT = Grant(caller="local", methods=frozenset(), tenants=None, operators=None)
"""Every tenant and operator. No method: those are judged before an action is reached."""
