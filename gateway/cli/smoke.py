"""The vendor's Getting Started through a running gateway: board, event, read back, tokens, wallet webhooks.

Steps run in order; the first that fails stops the run. A step that cannot be run against this Phoenix is skipped and
says why; with a sandbox (its control URL) nothing may be skipped. smoke_report.py prints the results.
"""

from __future__ import annotations

import base64
import enum
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.cli.connect import advice, in_words, reason_of
from gateway.v1 import (
    common_pb2,
    events_pb2,
    events_pb2_grpc,
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    wallet_pb2,
    wallet_pb2_grpc,
)

CALL_TIMEOUT_S = 15.0
POLL_EVERY_S = 0.1
NO_SANDBOX = "needs a sandbox that signs webhooks (--control)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Options of a run. Empty ids mean the gateway's only tenant and operator environment."""

    board: str
    currency: str
    tenant_id: str
    operator_code: str
    environment: str
    read_within_s: float
    control_url: str | None


class Outcome(enum.Enum):
    """How a step ended."""

    OK = "ok"
    SKIPPED = "skipped"
    FAILED = "FAILED"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One line of the report."""

    step: str
    what: str
    outcome: Outcome
    detail: str
    elapsed_ms: float
    next_step: str = ""


class StepFailed(Exception):
    """A step failed; the text says what was expected and what happened."""


class StepSkipped(Exception):
    """The step cannot be run here; the text says why."""


def passed(results: list[StepResult]) -> bool:
    """Tell whether at least one step passed and none failed."""
    outcomes = [result.outcome for result in results]
    return Outcome.FAILED not in outcomes and Outcome.OK in outcomes


def _not_run(step: str, what: str) -> StepResult:
    detail = "a step before it failed"
    return StepResult(step=step, what=what, outcome=Outcome.NOT_RUN, detail=detail, elapsed_ms=0)


class Smoke:
    """One run; `run` once."""

    def __init__(self, channel: grpc.Channel, choice: Choice) -> None:
        """Args: the caller closes `channel`."""
        self._channel = channel
        self._choice = choice
        self._user = f"smoke-{uuid.uuid4().hex[:12]}"
        self._event_id = str(uuid.uuid4())
        self._steps: list[tuple[str, str, Callable[[], str]]] = [
            ("gateway", "is there and serving", self._gateway),
            ("leaderboard", f"create or confirm {choice.board}", self._ensure_board),
            ("event", "publish one with score_delta 5", self._submit_event),
            ("read back", "the user's score and rank show the event", self._read_back),
            ("visitor token", "mint a launch token for a visitor", self._mint_visitor),
            ("player token", f"mint a launch token for a player in {choice.currency}", self._mint_player),
            ("good webhook", "verify a signed wallet call, record its outcome", self._good_webhook),
            ("forged webhook", "refuse the call with one bit changed", self._forged_webhook),
        ]

    def run(self) -> list[StepResult]:
        """Run the steps in order until one fails."""
        results: list[StepResult] = []
        for step, what, act in self._steps:
            if any(result.outcome is Outcome.FAILED for result in results):
                results.append(_not_run(step, what))
                continue
            began = time.monotonic()
            outcome, detail, next_step = self._try(act)
            elapsed_ms = (time.monotonic() - began) * 1000
            results.append(
                StepResult(
                    step=step, what=what, outcome=outcome, detail=detail, elapsed_ms=elapsed_ms, next_step=next_step
                )
            )
        return results

    def _try(self, act: Callable[[], str]) -> tuple[Outcome, str, str]:
        """Return how the step ended, in words, and what to do next."""
        try:
            return Outcome.OK, act(), ""
        except StepSkipped as skipped:
            return (Outcome.SKIPPED if self._choice.control_url is None else Outcome.FAILED), str(skipped), ""
        except StepFailed as failed:
            return Outcome.FAILED, str(failed), ""
        except grpc.RpcError as error:
            # A step may be skipped only if nothing is configured for it and no option names it.
            unasked = {"TENANT_UNKNOWN": not self._choice.tenant_id, "OPERATOR_UNKNOWN": not self._choice.operator_code}
            if self._choice.control_url is None and unasked.get(reason_of(error), False):
                return Outcome.SKIPPED, f"not configured: {in_words(error)}", ""
            return Outcome.FAILED, in_words(error), advice(error)

    def _gateway(self) -> str:
        stub = health_pb2_grpc.HealthStub(self._channel)
        answer = stub.Check(  # type: ignore[attr-defined]  # the stubs leave the methods out
            health_pb2.HealthCheckRequest(), timeout=CALL_TIMEOUT_S, wait_for_ready=True
        )
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise StepFailed(f"health says {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")
        return "SERVING"

    def _ensure_board(self) -> str:
        answer = leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(self._channel).EnsureLeaderboard(
            leaderboard_admin_pb2.EnsureLeaderboardRequest(
                tenant_id=self._choice.tenant_id, leaderboard_id=self._choice.board, name=self._choice.board
            ),
            timeout=CALL_TIMEOUT_S,
        )
        return "created" if answer.created else "was there already"

    def _submit_event(self) -> str:
        answer = events_pb2_grpc.EventServiceStub(self._channel).SubmitEvent(
            events_pb2.SubmitEventRequest(
                tenant_id=self._choice.tenant_id,
                event=events_pb2.Event(
                    event_id=self._event_id,
                    leaderboard_id=self._choice.board,
                    user_id=self._user,
                    score_delta=5,
                    metadata_json=b'{"source":"phoenix-gateway smoke"}',
                ),
            ),
            timeout=CALL_TIMEOUT_S,
        )
        status = events_pb2.EventStatus.Name(answer.status)
        if status != "EVENT_STATUS_ACCEPTED":
            raise StepFailed(f"expected EVENT_STATUS_ACCEPTED, got {status}")
        return f"accepted as {answer.event_id} for {self._user}"

    def _read_back(self) -> str:
        """Poll, because Phoenix counts an accepted event a little later."""
        board = {"tenant_id": self._choice.tenant_id, "leaderboard_id": self._choice.board, "user_id": self._user}
        stub = leaderboards_pb2_grpc.LeaderboardServiceStub(self._channel)
        until = time.monotonic() + self._choice.read_within_s
        while True:
            score = stub.GetUserScore(
                leaderboards_pb2.GetUserScoreRequest(**board, max_staleness=Duration()), timeout=CALL_TIMEOUT_S
            )
            if score.ranked and score.score == 5:
                break
            if time.monotonic() > until:
                seen = f"score {score.score:g}" if score.ranked else "no entry"
                raise StepFailed(f"after {self._choice.read_within_s:g} s the user has {seen}, expected score 5")
            time.sleep(POLL_EVERY_S)
        rank = stub.GetUserRank(
            leaderboards_pb2.GetUserRankRequest(**board, max_staleness=Duration()), timeout=CALL_TIMEOUT_S
        )
        if not rank.ranked or rank.rank < 1:
            raise StepFailed("the user has a score but no rank")
        return f"score {score.score:g}, rank {rank.rank}"

    def _mint_visitor(self) -> str:
        return self._mint(tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession()))

    def _mint_player(self) -> str:
        player = tokens_pb2.PlayerSession(player_id=self._user, name="Smoke Test", currency=self._choice.currency)
        return self._mint(tokens_pb2.MintLaunchJWTRequest(player=player))

    def _mint(self, request: tokens_pb2.MintLaunchJWTRequest) -> str:
        request.operator_code = self._choice.operator_code
        request.environment = self._environment()
        answer = tokens_pb2_grpc.TokenServiceStub(self._channel).MintLaunchJWT(request, timeout=CALL_TIMEOUT_S)
        if answer.token.count(".") != 2:
            raise StepFailed("the answer holds no token")
        said = f"signed with key {answer.key_id[:12]}"
        if self._choice.control_url is None:
            return said
        verified = self._control("/tokens/verify", {"token": answer.token, "kind": "launch"})
        if verified.get("ok") is not True:
            raise StepFailed(f"the sandbox does not accept the token: {verified.get('reason')}")
        return f"{said}; accepted by the sandbox"

    def _good_webhook(self) -> str:
        answer = self._verify("none")
        verdict = wallet_pb2.WalletVerdict.Name(answer.verdict).removeprefix("WALLET_VERDICT_")
        disposition = wallet_pb2.WalletDisposition.Name(answer.disposition).removeprefix("WALLET_DISPOSITION_")
        if (verdict, disposition) != ("VERIFIED", "NEW"):
            raise StepFailed(f"expected VERIFIED and NEW, got {verdict} and {disposition}")
        wallet_pb2_grpc.WalletServiceStub(self._channel).RecordWalletOutcome(
            wallet_pb2.RecordWalletOutcomeRequest(
                operation_id=answer.operation_id,
                attempt=answer.attempt,
                response_status=200,
                response_body=b'{"status":"ok"}',
            ),
            timeout=CALL_TIMEOUT_S,
        )
        return f"VERIFIED, NEW; {answer.operation.operation}, outcome recorded"

    def _forged_webhook(self) -> str:
        answer = self._verify("bit")
        verdict = wallet_pb2.WalletVerdict.Name(answer.verdict).removeprefix("WALLET_VERDICT_")
        if (verdict, answer.reply.status) != ("BAD_SIGNATURE", 401):
            raise StepFailed(f"expected BAD_SIGNATURE with reply 401, got {verdict} with {answer.reply.status}")
        return f"BAD_SIGNATURE, reply 401 {answer.reply.body.decode()}"

    def _verify(self, forge: str) -> wallet_pb2.VerifyWalletResponse:
        if self._choice.control_url is None:
            raise StepSkipped(NO_SANDBOX)
        signed = self._control("/wallet/sign", {"forge": forge})
        request = wallet_pb2.VerifyWalletRequest(
            operator_code=self._choice.operator_code,
            environment=self._environment(),
            method=signed["method"],
            path=signed["path"],
            headers=[wallet_pb2.HttpHeader(name=name, value=value) for name, value in signed["headers"]],
            raw_body=base64.b64decode(signed["body_base64"]),
        )
        stub = wallet_pb2_grpc.WalletServiceStub(self._channel)
        return stub.VerifyWallet(request, timeout=CALL_TIMEOUT_S)

    def _environment(self) -> common_pb2.PhoenixEnvironment.ValueType:
        name = f"PHOENIX_ENVIRONMENT_{self._choice.environment.upper() or 'UNSPECIFIED'}"
        return common_pb2.PhoenixEnvironment.Value(name)

    def _control(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._choice.control_url}{path}"
        try:
            # trust_env=False: a sandbox is on loopback and never behind the environment's proxy.
            response = httpx.post(url, json=body, timeout=CALL_TIMEOUT_S, trust_env=False).raise_for_status()
            answer: dict[str, Any] = response.json()
            return answer
        except (httpx.HTTPError, ValueError) as error:
            raise StepFailed(f"the sandbox's control route {path} does not answer: {error}") from None
