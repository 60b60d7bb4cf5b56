"""Control routes for rotations: they change which tenant secrets and operator keys Phoenix accepts.

Phoenix may accept several at once, as during a rotation. The length of the vendor's overlap is not documented. A reset
restores the credentials with which the sandbox started.
"""

from typing import Any

from gateway.sandbox.control import AsyncHandler
from gateway.sandbox.control_input import InvalidControlRequest
from gateway.sandbox.signatures import load_public_key
from gateway.sandbox.state import Operator, SandboxState, Tenant


def credential_routes(state: SandboxState) -> dict[tuple[str, str], AsyncHandler]:
    """Return the routes by (method, path).

    Both take `tenant_id` with `hmac_secret` or `api_key`, or `operator_code` and `environment` with `public_pem`.
    """

    async def add(body: dict[str, Any]) -> object:
        return _change(body, state, adds=True)

    async def remove(body: dict[str, Any]) -> object:
        return _change(body, state, adds=False)

    return {("POST", "/credentials/add"): add, ("POST", "/credentials/remove"): remove}


def _change(body: dict[str, Any], state: SandboxState, *, adds: bool) -> dict[str, int]:
    """Add or remove credentials. Return how many of each kind remain, never the values."""
    if "tenant_id" in body:
        tenant = state.tenants.get(body["tenant_id"])
        if tenant is None:
            raise InvalidControlRequest("tenant_id: unknown tenant")
        _change_texts(tenant, body, adds=adds)
        return {"hmac_secrets": len(tenant.hmac_secrets), "api_keys": len(tenant.api_keys)}
    operator = state.operators.get((str(body.get("operator_code")), str(body.get("environment"))))
    if operator is None:
        raise InvalidControlRequest("operator_code and environment: unknown operator")
    _change_key(operator, body.get("public_pem"), adds=adds)
    return {"public_keys": len(operator.public_keys)}


def _change_texts(tenant: Tenant, body: dict[str, Any], *, adds: bool) -> None:
    for name, known in (("hmac_secret", tenant.hmac_secrets), ("api_key", tenant.api_keys)):
        text = body.get(name)
        if text is None:
            continue
        if not isinstance(text, str) or not text:
            raise InvalidControlRequest(f"{name}: must be a non-empty string")
        known[:] = [each for each in known if each != text] + ([text] if adds else [])


def _change_key(operator: Operator, pem: object, *, adds: bool) -> None:
    if not isinstance(pem, str):
        raise InvalidControlRequest("public_pem: must be a string")
    try:
        key = load_public_key(pem)
    except ValueError:
        raise InvalidControlRequest("public_pem: must be an Ed25519 public key in PEM") from None
    others = [each for each in operator.public_keys if each.public_bytes_raw() != key.public_bytes_raw()]
    operator.public_keys = others + ([key] if adds else [])
    if adds:
        operator.newest_pem = pem
