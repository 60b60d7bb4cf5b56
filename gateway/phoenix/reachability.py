"""Whether a host of Phoenix answers at all, without credentials."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.errors import PhoenixUnavailable
from gateway.phoenix.answers import Surface, error_of_failure
from gateway.phoenix.http_types import ExchangeFailed, Request, Sender
from gateway.resilience.deadline import Deadline

HEALTH_PATH = "/health"
MAX_ANSWER_BYTES = 64 * 1024


async def check_reachable(sender: Sender, base_url: str, surface: Surface, deadline: Deadline) -> Mapping[str, str]:
    """Return the headers of the answer if the host answers its health route with a status below 500.

    Without credentials an answer proves no more than that. Raises: UpstreamFault.
    """
    request = Request(method="GET", url_base=base_url, raw_path=HEALTH_PATH, headers={"accept": "*/*"})
    try:
        answer = await sender.send(request, deadline, max_answer_bytes=MAX_ANSWER_BYTES)
    except ExchangeFailed as failure:
        fault = error_of_failure(failure, surface, changes=False)
        fault.address = base_url
        raise fault from failure
    if answer.status >= 500:
        down = PhoenixUnavailable(metadata={"surface": surface.value, "phoenix_status": str(answer.status)})
        down.address = base_url
        raise down
    return answer.headers
