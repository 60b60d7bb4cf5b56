"""Control routes for the platform key, wallet webhooks and token checks."""

from typing import Any

from gateway.sandbox.control import AsyncHandler
from gateway.sandbox.control_input import InvalidControlRequest
from gateway.sandbox.state import SandboxState
from gateway.sandbox.tokens import KINDS, verify
from gateway.sandbox.wallet_sender import send_webhook
from gateway.sandbox.wallet_webhooks import make_webhook


def prediction_routes(state: SandboxState) -> dict[tuple[str, str], AsyncHandler]:
    """Return the routes by (method, path)."""

    async def show_keys(_: dict[str, Any]) -> object:
        return state.keys.as_dict()

    async def rotate(body: dict[str, Any]) -> object:
        private_pem = body.get("private_pem")
        if private_pem is not None and not isinstance(private_pem, str):
            raise InvalidControlRequest("private_pem: must be a string")
        try:
            return {"public_pem": state.keys.rotate(private_pem)}
        except ValueError:
            raise InvalidControlRequest("private_pem: must be an Ed25519 private key in PEM") from None

    async def sign(body: dict[str, Any]) -> object:
        return make_webhook(body, state).as_dict()

    async def send(body: dict[str, Any]) -> object:
        return await send_webhook(body, state)

    async def verify_token(body: dict[str, Any]) -> object:
        token, kind = body.get("token"), body.get("kind", "launch")
        if not isinstance(token, str) or kind not in KINDS:
            raise InvalidControlRequest(f"token must be a string, and kind one of {', '.join(KINDS)}")
        return verify(token, kind, state)

    return {
        ("GET", "/keys"): show_keys,
        ("POST", "/keys/rotate"): rotate,
        ("POST", "/wallet/sign"): sign,
        ("POST", "/wallet/send"): send,
        ("POST", "/tokens/verify"): verify_token,
    }
