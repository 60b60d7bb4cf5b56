"""Control routes for rotations: which secrets of a tenant and which keys of an operator Phoenix takes now.

Several may hold at once, as while the owner goes over from one to the next; how long the vendor's overlap is, is not
known. A reset brings back what the sandbox was started with.
"""

from typing import Any

from gateway.sandbox.checks import load_public_key
from gateway.sandbox.control import AsyncHandler, BadRequest
from gateway.sandbox.world import Operator, Tenant, World


def credential_routes(world: World) -> dict[tuple[str, str], AsyncHandler]:
    """Return the routes by (method, path).

    Both take `tenant_id` with `hmac_secret` or `api_key`, or `operator_code` and `environment` with `public_pem`.
    """

    async def add(body: dict[str, Any]) -> object:
        return _change(body, world, adds=True)

    async def remove(body: dict[str, Any]) -> object:
        return _change(body, world, adds=False)

    return {("POST", "/credentials/add"): add, ("POST", "/credentials/remove"): remove}


def _change(body: dict[str, Any], world: World, *, adds: bool) -> dict[str, int]:
    """Add or remove; answers how many of each kind there are then, never which."""
    if "tenant_id" in body:
        tenant = world.tenants.get(body["tenant_id"])
        if tenant is None:
            raise BadRequest("tenant_id: no such tenant")
        _change_texts(tenant, body, adds=adds)
        return {"hmac_secrets": len(tenant.hmac_secrets), "api_keys": len(tenant.api_keys)}
    operator = world.operators.get((str(body.get("operator_code")), str(body.get("environment"))))
    if operator is None:
        raise BadRequest("operator_code and environment: no such operator")
    _change_key(operator, body.get("public_pem"), adds=adds)
    return {"public_keys": len(operator.public_keys)}


def _change_texts(tenant: Tenant, body: dict[str, Any], *, adds: bool) -> None:
    for name, known in (("hmac_secret", tenant.hmac_secrets), ("api_key", tenant.api_keys)):
        text = body.get(name)
        if text is None:
            continue
        if not isinstance(text, str) or not text:
            raise BadRequest(f"{name}: a text")
        known[:] = [each for each in known if each != text] + ([text] if adds else [])


def _change_key(operator: Operator, pem: object, *, adds: bool) -> None:
    if not isinstance(pem, str):
        raise BadRequest("public_pem: a text")
    try:
        key = load_public_key(pem)
    except ValueError:
        raise BadRequest("public_pem: not an Ed25519 public key in PEM") from None
    others = [each for each in operator.public_keys if each.public_bytes_raw() != key.public_bytes_raw()]
    operator.public_keys = others + ([key] if adds else [])
    if adds:
        operator.newest_pem = pem
