"""Sessions as the client gives them, against the real server."""

import threading

import httpx
import numpy as np
import pytest

from service.client import (
    Client,
    Conflict,
    InvalidRequest,
    KeyReused,
    PointNotKept,
    RevisionMismatch,
    Session,
    SessionNotFound,
    SnapshotExists,
    SpecMismatch,
)
from tests.service.client.faults import Proxy
from tests.service.stream.socket import rows_of


def gone(ntm: Client, session_id: str) -> bool:
    try:
        ntm.open(session_id)
    except SessionNotFound:
        return True
    return False


def test_a_session_is_deleted_at_the_end_of_its_with(ntm: Client):
    with ntm.session("copy") as session:
        assert session.step(rows_of(1, 2)).step == 2
    assert gone(ntm, session.id)


def test_one_that_is_kept_or_opened_is_not(ntm: Client):
    with ntm.session("copy", keep=True) as kept:
        kept.step(rows_of(1, 3))
    with ntm.open(kept.id) as again:
        assert (again.position, again.model, again.version) == (kept.position, "copy", "1")
    assert not gone(ntm, kept.id)
    again.delete()
    assert gone(ntm, kept.id)


def test_it_is_deleted_wherever_others_have_moved_it_and_when_it_is_gone_already(ntm: Client):
    with ntm.session("copy") as session:
        ntm.open(session.id).step(rows_of(1, 1))
    assert gone(ntm, session.id)
    with ntm.session("copy") as session:
        ntm.open(session.id).delete()


def test_what_went_wrong_inside_is_what_is_told(ntm: Client, server):
    with pytest.raises(ZeroDivisionError) as caught, Client(server.url) as client:
        with client.session("copy") as session:
            client.http.close()
            client.http = httpx.Client(base_url="http://127.0.0.1:1")  # the server is away
            raise ZeroDivisionError
    assert (
        session.id in caught.value.__notes__[0]
        and "could not be deleted" in caught.value.__notes__[0]
    )
    ntm.open(session.id).delete()


def test_rows_of_one_and_of_many_step_alike(ntm: Client, copy: Session):
    rows = rows_of(2, 5)
    whole = copy.step(rows)
    assert (whole.outputs.shape, whole.outputs.dtype, whole.step) == ((5, 8), np.float32, 5)
    assert whole.trace is None and not whole.replayed
    with ntm.session("copy") as other:
        singles = [other.step(row).outputs for row in rows]
    assert [y.shape for y in singles] == [(1, 8)] * 5
    assert np.array_equal(np.concatenate(singles), whole.outputs)


def test_a_trace_has_each_rows_weights_and_the_last_are_those_of_the_memory(copy: Session):
    done = copy.step(rows_of(3, 4), trace=True)
    assert done.trace is not None
    weights = done.trace["read_weights"]
    assert weights.role == "read_weights" and weights.array.shape == (4, 1, 128)
    memory = copy.memory()
    assert np.array_equal(memory["read_weights"], weights.array[-1])
    assert [tensor.name for tensor in memory.of_role("memory")] == ["memory"]
    assert (memory.step, memory["memory"].shape) == (4, (128, 20))


def test_every_mutation_sends_a_key_and_the_last_etag(server, proxy: Proxy):
    with Client(proxy.url) as client, client.session("copy") as session:
        session.step(rows_of(1, 1))
        session.snapshot("s")
        session.restore(snapshot="s")
        session.fork().delete()
        session.migrate("1")
        session.import_state(session.export_state())
        session.reset()
    sent = [seen for seen in proxy.seen if seen.method in ("POST", "PUT")]
    paths = [seen.path.rpartition("/")[2] for seen in sent]
    assert paths == [
        "sessions",
        "steps",
        "snapshots",
        "restore",
        "fork",
        "migrate",
        "state",
        "reset",
    ]
    keys = [seen.headers["idempotency-key"] for seen in sent]
    assert len(set(keys)) == len(keys)
    matches = [seen.headers.get("if-match") for seen in sent]
    incarnation = session.core.incarnation
    revisions = [1, 2, 2, 3, 3, 4, 5]
    assert matches == [None, *(f'"{incarnation}-{number}"' for number in revisions)]
    assert [seen.headers["if-match"] for seen in proxy.seen if seen.method == "DELETE"][-1] == "*"


def test_somebody_elses_step_is_noticed_and_looking_again_goes_on(ntm: Client, copy: Session):
    other = ntm.open(copy.id)
    other.step(rows_of(1, 2))
    with pytest.raises(RevisionMismatch) as caught:
        copy.step(rows_of(2, 1))
    assert not caught.value.maybe_done and caught.value.attempts == 1
    assert copy.info().step == 2
    assert copy.step(rows_of(2, 1)).step == 3
    assert other.step(rows_of(2, 1), if_match="*").step == 4


def test_the_same_key_again_is_answered_and_not_stepped(ntm: Client, copy: Session):
    rows = rows_of(4, 3)
    first = copy.step(rows, trace=True, key="mine")
    copy.step(rows)
    here = copy.position
    again = copy.step(rows, trace=True, key="mine")
    assert again.replayed and again.trace is None and again.step == 3
    assert np.array_equal(again.outputs, first.outputs)
    assert copy.position == here and copy.step(rows).step == 9
    with pytest.raises(KeyReused):
        copy.step(rows_of(5, 3), key="mine")


def test_threads_that_share_a_handle_step_one_after_another(copy: Session):
    steps: list[int] = []
    threads = [
        threading.Thread(target=lambda: steps.append(copy.step(rows_of(1, 1)).step))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(steps) == list(range(1, 9))


def test_back_to_the_start_to_snapshots_steps_and_revisions(copy: Session):
    first = copy.step(rows_of(6, 3)).outputs
    kept = copy.snapshot("here")
    assert (kept.name, kept.step, kept.revision) == ("here", 3, 2)
    with pytest.raises(SnapshotExists):
        copy.snapshot("here")
    drawn = copy.snapshot()
    assert [snapshot.name for snapshot in copy.snapshots()] == ["here", drawn.name]
    second = copy.step(rows_of(7, 2)).outputs
    assert copy.reset().step == 0
    assert np.array_equal(copy.step(rows_of(6, 3)).outputs, first)
    assert copy.restore(snapshot="here").step == 3
    assert np.array_equal(copy.step(rows_of(7, 2)).outputs, second)
    assert copy.restore(step=5).step == 5
    assert copy.restore(revision=1).step == 0
    with pytest.raises(PointNotKept):
        copy.restore(snapshot="nowhere")
    with pytest.raises(InvalidRequest):
        copy.restore()


def test_a_fork_goes_on_by_itself(ntm: Client, copy: Session):
    copy.step(rows_of(8, 4))
    with copy.fork(id="forked-off", step=4) as fork:
        assert (fork.id, fork.position.step) == ("forked-off", 4)
        assert fork.info().forked_from == copy.id
        ours, theirs = copy.step(rows_of(9, 2)), fork.step(rows_of(9, 2))
        assert np.array_equal(ours.outputs, theirs.outputs)
    assert gone(ntm, "forked-off") and not gone(ntm, copy.id)


def test_a_state_goes_out_as_a_file_and_comes_back_elsewhere(ntm: Client, copy: Session):
    copy.step(rows_of(10, 4))
    data = copy.export_state()
    with ntm.session("copy") as other:
        moved = other.import_state(data)
        assert (moved.step, moved.version) == (4, "1")
        assert np.array_equal(other.step(rows_of(1, 1)).outputs, copy.step(rows_of(1, 1)).outputs)
        with pytest.raises(InvalidRequest):
            other.import_state(b"nothing of a state")
    with ntm.session("small") as small, pytest.raises(SpecMismatch) as caught:
        small.import_state(data)
    assert isinstance(caught.value, Conflict)


def test_a_session_migrates_to_another_version(ntm: Client):
    with ntm.session("small", version="1") as session:
        assert session.version == "1"
        assert session.migrate("2").version == "2"
        assert session.version == session.info().version == "2"


def test_the_history_comes_newest_first_over_all_its_pages(copy: Session):
    rows = [rows_of(seed, seed % 3 + 1) for seed in range(7)]
    outputs = [copy.step(part).outputs for part in rows]
    copy.reset()
    told = list(copy.history(page=2))
    assert [entry.kind for entry in told] == ["reset", *["step"] * 7, "create"]
    assert [entry.revision for entry in told] == list(range(9, 0, -1))
    for entry, sent, got in zip(reversed(told[1:8]), rows, outputs, strict=True):
        assert entry.inputs is not None and np.array_equal(entry.inputs, sent)
        assert entry.outputs is not None and np.array_equal(entry.outputs, got)
    assert told[0].inputs is None and told[-1].outputs is None
