"""Statuses to reasons, as API.md's table has them."""

import pytest

from gateway.errors import Effect
from gateway.phoenix.answers import Surface, error_of, error_of_failure, raise_for, retry_after_of
from gateway.phoenix.http_types import Answer, AnswerGarbled, AnswerLost, ExchangeFailed, NotSent, TimedOut

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        (400, "PHOENIX_REFUSED_INPUT", "INVALID_ARGUMENT"),
        (413, "PHOENIX_REFUSED_INPUT", "INVALID_ARGUMENT"),
        (401, "PHOENIX_REJECTED_CREDENTIALS", "INTERNAL"),
        (403, "PHOENIX_FORBIDDEN", "PERMISSION_DENIED"),
        (404, "PHOENIX_NOT_FOUND", "NOT_FOUND"),
        (409, "PHOENIX_CONFLICT", "ABORTED"),
        (422, "PHOENIX_REFUSED_STATE", "FAILED_PRECONDITION"),
        (429, "PHOENIX_RATE_LIMITED", "RESOURCE_EXHAUSTED"),
        (500, "PHOENIX_UNAVAILABLE", "UNAVAILABLE"),
        (503, "PHOENIX_UNAVAILABLE", "UNAVAILABLE"),
        (599, "PHOENIX_UNAVAILABLE", "UNAVAILABLE"),
        (408, "PHOENIX_UNAVAILABLE", "UNAVAILABLE"),
        (405, "PHOENIX_REFUSED_INPUT", "INVALID_ARGUMENT"),
        (302, "PHOENIX_ANSWER_UNREADABLE", "UNAVAILABLE"),
        (799, "PHOENIX_ANSWER_UNREADABLE", "UNAVAILABLE"),
    ],
)
def test_each_status_has_its_reason(status: int, reason: str, code: str) -> None:
    """Row by row."""
    fault = error_of(Answer(status=status), Surface.QUERY, NOW, changes=False)
    assert (fault.reason, fault.code, fault.metadata["phoenix_status"]) == (reason, code, str(status))


@pytest.mark.parametrize(
    ("status", "body", "effect"),
    [
        *((status, b"", Effect.NONE) for status in (302, 400, 401, 403, 404, 408, 409, 413, 422, 425, 429, 503)),
        *((status, b"", Effect.MAYBE) for status in (500, 501, 502, 504, 599, 799)),
        (503, b"upstream connect error or disconnect/reset before headers. reset reason: overflow", Effect.NONE),
        (503, b"... reset before headers. reset reason: remote connection failure", Effect.NONE),
        (503, b"... reset before headers. reset reason: connection termination", Effect.MAYBE),
        (503, b"... reset before headers. retried and the latest reset reason: remote reset", Effect.MAYBE),
        (503, b"... reset before headers. retried and the latest reset reason: connection failure", Effect.MAYBE),
    ],
)
def test_each_status_says_whether_a_change_was_made(status: int, body: bytes, effect: Effect) -> None:
    """What is in doubt is OUTCOME_UNKNOWN; the same answer to a read has no effect."""
    answer = Answer(status=status, body=body)
    fault = error_of(answer, Surface.INGESTION, NOW, changes=True)
    assert (effect, effect is Effect.MAYBE) == (fault.effect, fault.reason == "OUTCOME_UNKNOWN")
    assert Effect.NONE is error_of(answer, Surface.QUERY, NOW, changes=False).effect


@pytest.mark.parametrize(
    ("failure", "effect"),
    [
        (NotSent("x"), Effect.NONE),
        (TimedOut("x", sent=False), Effect.NONE),
        (TimedOut("x", sent=True), Effect.MAYBE),
        (AnswerLost("x"), Effect.MAYBE),
        (AnswerGarbled("x"), Effect.MAYBE),
    ],
)
def test_a_loss_says_whether_a_change_may_have_been_made(failure: ExchangeFailed, effect: Effect) -> None:
    """Nothing left, or something may have; for a read it makes no difference."""
    assert effect is error_of_failure(failure, Surface.ADMIN, changes=True).effect
    assert Effect.NONE is error_of_failure(failure, Surface.ADMIN, changes=False).effect


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_a_2xx_passes(status: int) -> None:
    """Whatever its body."""
    raise_for(Answer(status=status, body=b"\xff"), Surface.INGESTION, NOW)


@pytest.mark.parametrize("code", ["leaderboard_inactive", "BOARD_NOT_ACTIVE", "inactive", "leaderboard-archived"])
def test_an_inactive_board_is_reported_where_the_code_says_so(code: str) -> None:
    """In any spelling of the same words."""
    fault = error_of(Answer(status=422, body=b'{"code":"%s"}' % code.encode()), Surface.QUERY, NOW, changes=False)
    assert fault.reason == "BOARD_NOT_ACTIVE"


def test_the_code_is_kept_and_the_text_is_not() -> None:
    """An upstream body never travels on."""
    body = b'{"error":"signature s3cret of tenant-7 is wrong","code":"AUTH_001"}'
    fault = error_of(Answer(status=401, body=body), Surface.INGESTION, NOW, changes=True)
    assert fault.metadata == {"surface": "ingestion", "phoenix_status": "401", "phoenix_code": "AUTH_001"}
    assert "s3cret" not in f"{fault} {fault!r} {fault.message}"


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"code":5}', b'{"code":"a b\\nc"}', b"\xff\xfe"])
def test_a_body_without_a_clean_code_is_no_obstacle(body: bytes) -> None:
    """The status is sufficient."""
    fault = error_of(Answer(status=400, body=body), Surface.INGESTION, NOW, changes=True)
    assert "phoenix_code" not in fault.metadata


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("0007", 7.0),
        ("99999999", 3600.0),
        ("9" * 5000, 3600.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 -0000", 30.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٧", None),
        ("Tue, 99 Nov 2023 22:13:50 GMT", None),
        ("x" * 100_000, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str, seconds: float | None) -> None:
    """Bounded by an hour; what cannot be read is as if absent."""
    assert retry_after_of(Answer(status=429, headers={"retry-after": text}), NOW) == seconds


def test_a_limit_says_when_to_come_back() -> None:
    """From the header, else a default."""
    said = error_of(Answer(status=429, headers={"retry-after": "7"}), Surface.QUERY, NOW, changes=False)
    unsaid = error_of(Answer(status=503), Surface.QUERY, NOW, changes=False)
    assert (said.retry_after_s, unsaid.retry_after_s) == (7.0, 1.0)
