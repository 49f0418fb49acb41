"""One request until its answer, pure: answers are made up, nothing is sent."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from service.client.backoff import Backoff, Retries
from service.client.core import Config, Core
from service.client.errors import (
    ApiError,
    CommitUnknown,
    DeadlineExceeded,
    NoAnswer,
    QuotaReached,
    RevisionMismatch,
    ServerError,
    SessionNotFound,
    TimedOut,
)
from service.client.exchange import KEY, Call, Flow, Lost, Reply, Send, Wait, exchange
from tests.service.client.test_backoff import Clock

OK = Reply(200, {}, b"fine")
GET = Call("GET", "/v1/models")
KEYED = Call("POST", "/v1/sessions/a/steps", {KEY: "k1", "if-match": '"i-1"'}, b"rows")
KEYLESS = Call("POST", "/v1/models/reload")


def problem(status: int, code: str = "", **headers: str) -> Reply:
    said = {"status": status, "code": code, "detail": "no", "request_id": "r1"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, msgspec.json.encode(said))


def played(
    flow: Flow[Any], answers: Sequence[Reply | Lost], clock: Clock | None = None
) -> tuple[Any, list[Send], list[float]]:
    """Run a flow on these answers: its result or error, what was sent, what was waited."""
    sent: list[Send] = []
    waited: list[float] = []
    left, answer = list(answers), None
    try:
        while True:
            todo = flow.send(answer)
            if isinstance(todo, Wait):
                waited.append(todo.seconds)
                if clock is not None:
                    clock.now += todo.seconds
                answer = None
            else:
                sent.append(todo)
                answer = left.pop(0)
    except StopIteration as done:
        result = done.value
    except (ApiError, NoAnswer) as error:
        result = error
    assert not left, f"not asked for: {left}"
    return result, sent, waited


def ran(call: Call, *answers: Reply | Lost, retries: Retries | None = None):
    clock = Clock()
    backoff = Backoff(retries or Retries(), clock, lambda: 0.5)
    return played(exchange(call, backoff, 30.0), answers, clock)


def test_an_answer_of_success_is_the_result():
    assert ran(GET, OK) == (OK, [Send(GET, 30.0)], [])


@pytest.mark.parametrize(
    "passing",
    [
        Lost("refused", sent=False),
        Lost("cut off"),
        Lost("timed out", timed_out=True),
        problem(429, "rate_limited"),
        problem(429),
        problem(408, "body_timeout"),
        problem(502),
        problem(503, "engine_unavailable"),
        problem(503, "commit_unknown"),
        problem(504, "deadline_exceeded"),
    ],
)
@pytest.mark.parametrize("call", [GET, KEYED])
def test_what_passes_is_tried_again_with_the_same_bytes_and_headers(
    passing: Reply | Lost, call: Call
):
    result, sent, waited = ran(call, passing, passing, OK)
    assert result == OK
    assert [send.call for send in sent] == [call] * 3
    assert waited == [0.05, 0.1]


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 405, 409, 410, 412, 413, 415, 422, 426, 500]
)
def test_what_does_not_pass_is_not_tried_again(status: int):
    error, sent, _ = ran(KEYED, problem(status, "whatever"))
    assert isinstance(error, ApiError) and (error.status, error.attempts) == (status, 1)
    assert len(sent) == 1


@pytest.mark.parametrize(
    "code", ["too_many_sessions", "too_many_snapshots", "too_many_state_bytes"]
)
def test_a_quota_that_is_reached_is_told_at_once(code: str):
    error, sent, _ = ran(KEYED, problem(429, code, retry_after="1"))
    assert isinstance(error, QuotaReached) and len(sent) == 1 and not error.maybe_done


def test_retry_after_is_honoured_before_the_random_part():
    _, _, waited = ran(GET, problem(503, "not_ready", retry_after="2"), OK)
    assert waited == [2.05]


def test_one_that_asks_for_longer_than_there_is_gets_its_error_now():
    error, _, waited = ran(GET, problem(429, "rate_limited", retry_after="3600"))
    assert isinstance(error, ApiError) and error.retry_after_s == 3600.0 and not waited


def test_without_a_key_a_mutation_is_sent_again_only_where_it_surely_was_not_done():
    for unsure in (Lost("cut off"), problem(502), problem(503, "commit_unknown"), problem(504)):
        error, sent, _ = ran(KEYLESS, unsure)
        assert len(sent) == 1 and error.maybe_done, unsure
    for sure in (
        Lost("refused", sent=False),
        problem(503, "not_ready"),
        problem(429, "queue_full"),
    ):
        result, sent, _ = ran(KEYLESS, sure, OK)
        assert result == OK and len(sent) == 2, sure


def test_a_pure_post_is_sent_again_without_a_key():
    pure = msgspec.structs.replace(KEYLESS, pure=True)
    assert ran(pure, Lost("cut off"), OK)[0] == OK


def test_a_412_after_a_lost_answer_says_that_it_may_have_been_this_very_request():
    error, _, _ = ran(KEYED, Lost("cut off"), problem(412, "revision_mismatch"))
    assert isinstance(error, RevisionMismatch)
    assert (error.maybe_done, error.attempts, error.key) == (True, 2, "k1")
    assert "sent 2 times, and one of them may have been carried out" in str(error)
    plain, _, _ = ran(KEYED, problem(503, "draining"), problem(412, "revision_mismatch"))
    assert isinstance(plain, RevisionMismatch) and not plain.maybe_done
    assert "carried out" not in str(plain)


def test_an_unknown_commit_stays_unknown_where_no_try_is_left():
    error, sent, _ = ran(KEYED, *[problem(503, "commit_unknown")] * 3, retries=Retries(2))
    assert isinstance(error, CommitUnknown)
    assert (error.maybe_done, error.attempts, error.key, len(sent)) == (True, 3, "k1", 3)


def test_silence_to_the_end_is_an_error_of_its_own():
    error, _, _ = ran(KEYED, Lost("refused", sent=False), retries=Retries(0))
    assert type(error) is NoAnswer and not error.maybe_done and str(error) == "refused"
    error, _, _ = ran(KEYED, Lost("timed out", timed_out=True), retries=Retries(0))
    assert type(error) is TimedOut and error.maybe_done


def test_what_would_always_fail_is_not_tried_again():
    _, sent, _ = ran(GET, Lost("certificate", sent=False, hopeless=True))
    assert len(sent) == 1


def test_no_try_may_take_longer_than_what_is_left_in_all():
    clock = Clock()
    backoff = Backoff(Retries(total_s=10.0, base_s=8.0, cap_s=8.0), clock, lambda: 0.5)
    _, sent, _ = played(exchange(GET, backoff, 30.0), [Lost("cut off"), OK], clock)
    assert [send.timeout_s for send in sent] == [10.0, 6.0]


def test_an_answer_of_a_proxy_still_has_its_status():
    error, _, _ = ran(GET, Reply(502, {}, b"<h1>Bad\n gateway</h1>"), retries=Retries(0))
    assert isinstance(error, ServerError) and (error.status, error.code) == (502, "")
    assert str(error) == "HTTP 502: <h1>Bad gateway</h1> (HTTP 502)"
    error, _, _ = ran(GET, Reply(504, {}, b""), retries=Retries(0))
    assert isinstance(error, DeadlineExceeded) and error.maybe_done
    assert isinstance(ran(GET, Reply(302, {}, b""))[0], ApiError)


def core() -> Core:
    return Core(Config("http://x", None, 30.0, Retries(), Clock(), lambda: 0.5))


def test_every_mutation_has_a_key_of_its_own_and_keeps_it_for_its_retries():
    created = Reply(503, {}, b"")
    keys: list[str] = []
    for _ in range(2):
        _, sent, _ = played(core().create("copy", retries=Retries(1)), [created, created])
        first, again = (send.call.headers[KEY] for send in sent)
        assert first == again
        keys.append(first)
    assert keys[0] != keys[1]


def test_a_delete_whose_first_answer_was_lost_is_done_where_nothing_is_there_any_more():
    gone = problem(404, "session_not_found")
    assert played(core().delete("a", "*"), [Lost("cut off"), gone])[0] is None
    for first in ([], [Lost("refused", sent=False)]):
        assert isinstance(played(core().delete("a", "*"), [*first, gone])[0], SessionNotFound)


def test_ready_asks_once_and_is_false_for_whatever_is_no_yes():
    assert played(core().ready(), [Reply(200, {}, b"{}")])[0] is True
    for no in (problem(503, "not_ready"), Lost("refused", sent=False)):
        assert played(core().ready(), [no])[0] is False
