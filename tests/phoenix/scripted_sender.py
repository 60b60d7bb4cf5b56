"""A sender that plays a script and keeps what it was given."""

from collections.abc import Callable

from gateway.phoenix.http_types import DEFAULT_MAX_ANSWER_BYTES, Answer, ExchangeFailed, Request
from gateway.resilience.deadline import Deadline

Step = int | Answer | ExchangeFailed | Callable[[], Answer]


class ScriptedSender:
    """Answers the n-th send with the n-th step; a bare number is an answer with that status."""

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        self.sent: list[Request] = []

    async def send(
        self, request: Request, deadline: Deadline, max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES
    ) -> Answer:
        """Play the next step; a script that is too short fails the test."""
        self.sent.append(request)
        step = self._steps.pop(0)
        if isinstance(step, ExchangeFailed):
            raise step
        if isinstance(step, int):
            return Answer(status=step)
        return step() if callable(step) else step
