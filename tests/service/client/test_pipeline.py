"""Rows in flight, pure: a reference server that answers by `at`, as the real one does."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client.answers import SessionInfo, Stepped
from service.client.backoff import Retries
from service.client.codec import pack
from service.client.core import Config, Core
from service.client.errors import (
    ApiError,
    BadAnswer,
    Expired,
    InvalidRequest,
    Misuse,
    NoAnswer,
    SessionNotFound,
    StepGap,
    Unavailable,
)
from service.client.exchange import Lost, Reply
from service.client.pipeline import Pipeline, Refused, packed
from service.client.session_core import SessionCore
from tests.service.client.test_backoff import Clock

INFO = SessionInfo("s", "m", "1", 5, 2, "inc", 0.0, 0.0, 0.0, "host", 8)


class Sums:
    """Answers frames as the server would: outputs are running sums, each row summed once."""

    def __init__(self, begin: int = 5) -> None:
        self.begin, self.rows, self.incarnation = begin, list[float](), "inc"

    def greeting(self) -> bytes:
        info = msgspec.structs.replace(
            INFO, step=self.begin + len(self.rows), incarnation=self.incarnation
        )
        return msgspec.msgpack.encode(info)

    def answer(self, message: bytes) -> bytes:
        asked = msgspec.msgpack.decode(message)
        at, rows = asked["at"], np.frombuffer(asked["inputs"]["data"], "<f4")
        stands = self.begin + len(self.rows)
        if rows[0] == 13.0:
            return problem(400, "wrong_shape", at)
        if at > stands:
            return problem(409, "step_gap", at)
        self.rows += [float(row) for row in rows[stands - at :]]
        sums = np.cumsum(np.array(self.rows, np.float32))[at - self.begin :][: len(rows)].astype(
            "<f4"
        )
        said = {"dims": [len(rows), 1], "data": sums.tobytes()}
        return msgspec.msgpack.encode(
            {"at": at, "outputs": said, "step": at + len(rows), "revision": 3}
        )


def problem(status: int, code: str, at: int | None) -> bytes:
    said = {"status": status, "code": code, "detail": code, "request_id": "r", "at": at}
    return msgspec.msgpack.encode(said)


def begun(window: int = 8, retries: Retries | None = None) -> tuple[Pipeline, Sums, SessionCore]:
    core = Core(Config("http://x", None, 30.0, retries or Retries(), Clock(), lambda: 0.5))
    session, server = SessionCore(core, INFO), Sums()
    pipeline = Pipeline(core, session, window)
    assert pipeline.greet(server.greeting()) == []
    return pipeline, server, session


def row(*values: float) -> Any:
    return packed([[value] for value in values])


def outputs(outcome: Any) -> list[float]:
    assert isinstance(outcome, Stepped), outcome
    return outcome.outputs.ravel().tolist()


def test_frames_say_how_many_rows_came_before_them_and_are_answered_in_order():
    pipeline, server, session = begun()
    messages = [pipeline.offer(row(1, 2), False), pipeline.offer(row(3), True)]
    said = [msgspec.msgpack.decode(message) for message in messages]
    assert [(frame["at"], frame.get("trace")) for frame in said] == [(5, None), (7, True)]
    assert outputs(pipeline.take(server.answer(messages[0]))) == [1, 3]
    assert pipeline.waiting == 1
    assert outputs(pipeline.take(server.answer(messages[1]))) == [6]
    assert (session.position.step, session.position.etag) == (8, '"inc-3"')


def test_the_window_bounds_rows_but_lets_one_large_frame_alone():
    pipeline, server, _ = begun(window=3)
    assert pipeline.has_room(row(*range(9)))
    message = pipeline.offer(row(1, 2), False)
    assert pipeline.has_room(row(3)) and not pipeline.has_room(row(3, 4))
    pipeline.take(server.answer(message))
    assert pipeline.has_room(row(3, 4))


def test_what_has_no_answer_is_sent_again_as_it_was():
    pipeline, server, _ = begun()
    messages = [pipeline.offer(row(value), False) for value in (1, 2, 3)]
    pipeline.take(server.answer(messages[0]))
    server.answer(messages[1])  # stepped, and its answer is lost
    again = pipeline.greet(server.greeting())
    assert again == messages[1:]
    assert [outputs(pipeline.take(server.answer(message))) for message in again] == [[3], [6]]
    assert server.rows == [1, 2, 3]


def test_a_refusal_is_its_frames_and_those_behind_it_are_told_so():
    pipeline, server, _ = begun()
    messages = [pipeline.offer(row(value), False) for value in (1, 13, 2)]
    assert outputs(pipeline.take(server.answer(messages[0]))) == [1]
    refused = pipeline.take(server.answer(messages[1]))
    assert isinstance(refused, Refused) and isinstance(refused.error, InvalidRequest)
    assert not pipeline.has_room(row(3))  # it would stand where the doomed one may step into
    gap = pipeline.take(server.answer(messages[2]))
    assert isinstance(gap, Refused) and isinstance(gap.error, StepGap)
    message = pipeline.offer(row(4), False)
    assert msgspec.msgpack.decode(message)["at"] == 6
    assert outputs(pipeline.take(server.answer(message))) == [5]


@pytest.mark.parametrize("code", ["engine_unavailable", "commit_unknown", "store_away"])
def test_a_refusal_that_passes_asks_for_a_new_connection(code: str):
    pipeline, server, _ = begun()
    message = pipeline.offer(row(1), False)
    assert pipeline.take(problem(503, code, 5)) is None
    assert pipeline.greet(server.greeting()) == [message]


def test_another_session_of_the_id_is_not_taken_for_this_one():
    pipeline, server, _ = begun()
    server.incarnation = "other"
    with pytest.raises(SessionNotFound):
        pipeline.greet(server.greeting())


@pytest.mark.parametrize(
    "message", ["text", b"\xc1", msgspec.msgpack.encode({"at": 99}), problem(400, "x", 4)]
)
def test_what_nobody_waits_for_is_a_bad_answer(message: str | bytes):
    pipeline, _, _ = begun()
    pipeline.offer(row(1), False)
    with pytest.raises(BadAnswer):
        pipeline.take(message)


def test_closes_for_good_are_told_apart_from_those_that_pass():
    pipeline, _, _ = begun()
    for code, kind in ((4404, SessionNotFound), (4410, Expired), (1009, BadAnswer)):
        with pytest.raises(kind):
            pipeline.closed(code, "session_expired")
    assert "1012" in pipeline.closed(1012, "the server is stopping").reason


def test_pauses_end_and_begin_anew_with_every_answer():
    pipeline, server, _ = begun(retries=Retries(count=2, base_s=1.0))
    cut = Lost("cut off")
    assert [pipeline.pause(cut), pipeline.pause(Reply(503, {"retry-after": "2"}, b""))] == [
        0.5,
        3.0,
    ]
    message = pipeline.offer(row(1), False)
    with pytest.raises(NoAnswer) as caught:
        pipeline.pause(cut)
    assert caught.value.maybe_done
    with pytest.raises(Unavailable):
        pipeline.pause(Reply(503, {}, b""))
    pipeline.take(server.answer(message))
    assert pipeline.pause(cut) == 0.5
    with pytest.raises(ApiError):
        pipeline.pause(Reply(401, {}, b""))


def test_no_rows_and_no_window_are_refused():
    for wrong in ([], np.zeros((0, 3))):
        with pytest.raises(Misuse):
            packed(wrong)
    with pytest.raises(Misuse, match="window"):
        begun(window=0)
    assert packed(pack([1, 2]).dims).dims == (1, 2)


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=12),
    st.lists(st.sampled_from(["answer", "lose", "cut"]), max_size=40),
)
def test_however_it_breaks_each_row_is_summed_once(sizes: list[int], faults: list[str]):
    pipeline, server, _ = begun(window=4, retries=Retries(count=1000, base_s=0.0))
    frames = [row(*range(index + 1, index + 1 + size)) for index, size in enumerate(sizes)]
    todo, wire, got = list(frames), list[bytes](), list[float]()
    while todo or pipeline.waiting:
        while todo and pipeline.has_room(todo[0]):
            wire.append(pipeline.offer(todo.pop(0), False))
        fault = faults.pop() if faults else "answer"
        if fault == "answer":
            got += outputs(pipeline.take(server.answer(wire.pop(0))))
            continue
        if fault == "lose":
            server.answer(wire[0])
        pipeline.pause(Lost("cut off"))
        wire = pipeline.greet(server.greeting())
    rows = np.concatenate([np.frombuffer(frame.data, "<f4") for frame in frames])
    assert server.rows == rows.tolist()
    assert got == np.cumsum(rows).tolist()
