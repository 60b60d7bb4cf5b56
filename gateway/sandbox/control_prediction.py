"""Control routes of the prediction side: platform key, wallet webhooks, token checks."""

from typing import Any

from gateway.sandbox.control import AsyncHandler, BadRequest
from gateway.sandbox.tokens import KINDS, verify
from gateway.sandbox.wallet_calls import make_call
from gateway.sandbox.world import World


def prediction_routes(world: World) -> dict[tuple[str, str], AsyncHandler]:
    """Return the routes by (method, path)."""

    async def show_keys(_: dict[str, Any]) -> object:
        return world.keys.shown()

    async def rotate(body: dict[str, Any]) -> object:
        private_pem = body.get("private_pem")
        if private_pem is not None and not isinstance(private_pem, str):
            raise BadRequest("private_pem: a text")
        try:
            return {"public_pem": world.keys.rotate(private_pem)}
        except ValueError:
            raise BadRequest("private_pem: not an Ed25519 private key in PEM") from None

    async def sign(body: dict[str, Any]) -> object:
        return make_call(body, world).as_dict()

    async def send(body: dict[str, Any]) -> object:
        from gateway.sandbox.wallet_sender import send as send_call  # an HTTP client only where it is asked for

        return await send_call(body, world)

    async def verify_token(body: dict[str, Any]) -> object:
        token, kind = body.get("token"), body.get("kind", "launch")
        if not isinstance(token, str) or kind not in KINDS:
            raise BadRequest(f"token: a text; kind: one of {', '.join(KINDS)}")
        return verify(token, kind, world)

    return {
        ("GET", "/keys"): show_keys,
        ("POST", "/keys/rotate"): rotate,
        ("POST", "/wallet/sign"): sign,
        ("POST", "/wallet/send"): send,
        ("POST", "/tokens/verify"): verify_token,
    }
