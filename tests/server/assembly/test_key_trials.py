"""The conclusion from Phoenix's answers to the new key, to the old key and to no key."""

from __future__ import annotations

import pytest

from gateway.config import load
from gateway.core.ed25519 import generate_signing_key
from gateway.core.key_trial import TrialResult
from gateway.core.secret import Secret
from gateway.core.types import Environment
from gateway.keys.descriptions import KeyKind
from gateway.keys.own.keyring import Keyring, OperatorEntry, TenantEntry
from gateway.keys.sources.secret_files import SecretSource
from gateway.phoenix.auth.credential_trial import CredentialTrial
from gateway.phoenix.http_types import Answer, NotSent, Request
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from gateway.server.assembly.key_trials import KeyTrials
from tests.config.valid_settings import WHOLE

CLOCK = SystemClock()
CONFIG = load(WHOLE)
TENANT, OPERATOR = CONFIG.tenants[0], CONFIG.operators[0]


class Phoenix:
    """Answers by who asks: with the new key, the old one, or nothing. None: no answer."""

    def __init__(self, new: int | None, old: int | None, nobody: int | None) -> None:
        self._statuses = {"new": new, "old": old, "": nobody}
        self.asked: list[Request] = []

    async def send(self, request: Request, deadline: Deadline, max_answer_bytes: int = 0) -> Answer:
        """Tell by the order of asking: the candidate comes first, the one before it after a refusal."""
        self.asked.append(request)
        credentials = {"x-api-key", "x-signature"} & set(request.headers)
        who = "" if not credentials else "new" if len(self.asked) == 1 else "old"
        status = self._statuses[who]
        if status is None:
            raise NotSent("nothing listens")
        return Answer(status=status)


def keyring(text: str) -> Keyring:
    """A keyring whose keys are in use."""
    key = SecretSource(setting="K", value=Secret(generate_signing_key()[1]))
    entry = TENANT.keys
    return Keyring(
        tenants=[
            TenantEntry(
                tenant_id=entry.tenant_id,
                hmac=SecretSource(setting="H", value=Secret.from_text(text)),
                api_key=SecretSource(setting="A", value=Secret.from_text(text)),
            )
        ],
        operators=[
            OperatorEntry(
                operator_code=OPERATOR.keys.operator_code, environment=OPERATOR.keys.environment, signing_key=key
            )
        ],
        clock=CLOCK,
    )


CASES = [
    ((200, 200, 401), TrialResult.ACCEPTED),
    ((200, 200, 200), TrialResult.UNPROVEN),  # the route accepts every caller
    ((200, 200, None), TrialResult.UNPROVEN),
    ((401, 200, 401), TrialResult.REFUSED),
    ((403, 200, 401), TrialResult.REFUSED),
    ((401, 401, 401), TrialResult.UNPROVEN),  # the route does not know this way of authenticating
    ((401, 503, 401), TrialResult.UNANSWERED),
    ((401, None, 401), TrialResult.UNANSWERED),
    ((500, 200, 401), TrialResult.UNANSWERED),
    ((429, 200, 401), TrialResult.UNANSWERED),
    ((None, 200, 401), TrialResult.UNANSWERED),
]


@pytest.mark.parametrize(("statuses", "result"), CASES)
@pytest.mark.parametrize("kind", [KeyKind.TENANT_HMAC, KeyKind.ADMIN_API_KEY, KeyKind.OPERATOR])
async def test_a_doubt_is_never_a_refusal(
    kind: KeyKind, statuses: tuple[int | None, int | None, int | None], result: TrialResult
) -> None:
    """Refused is only what Phoenix refuses while it takes the key before it."""
    phoenix = Phoenix(*statuses)
    trials = KeyTrials(
        CredentialTrial(phoenix, CLOCK),
        CLOCK,
        {TENANT.keys.tenant_id: TENANT},
        {(OPERATOR.keys.operator_code, OPERATOR.keys.environment): OPERATOR},
    )
    new, old = keyring("new-secret"), keyring("old-secret")
    if kind is KeyKind.OPERATOR:
        found = await trials.operator(OPERATOR.keys.operator_code, Environment.SANDBOX, new, old)
        path = "/operator/api/settings"
    else:
        found = await trials.tenant(TENANT.keys.tenant_id, kind, new, old)
        path = "/health"
    assert result is found
    assert {("GET", path, b"")} == {(one.method, one.raw_path, one.body) for one in phoenix.asked}
    own_header = {
        KeyKind.TENANT_HMAC: "x-signature",
        KeyKind.ADMIN_API_KEY: "x-api-key",
        KeyKind.OPERATOR: "x-signature",
    }
    assert own_header[kind] in phoenix.asked[0].headers
