import msgspec
import numpy as np
import pytest

from service import schemas
from service.client import answers, calls, codec
from service.client.codec import Raw, View
from service.client.errors import BadAnswer, Misuse
from service.client.exchange import Reply
from service.results import SessionInfo, SnapshotInfo


def test_rows_are_raw_float32_and_one_row_is_rows_of_one():
    assert codec.pack([[1, 2], [3, 4], [5, 6]]) == Raw(
        (3, 2), np.arange(1, 7, dtype="<f4").tobytes()
    )
    assert codec.pack(np.arange(4, dtype=np.int64)) == Raw(
        (1, 4), np.arange(4, dtype="<f4").tobytes()
    )
    turned = np.arange(6, dtype=">f8").reshape(2, 3).T  # neither C order nor little-endian
    assert np.array_equal(codec.array_of(codec.pack(turned)), turned.astype(np.float32))


@pytest.mark.parametrize(
    "wrong", [[[1, 2], [3]], [["a"]], [["1"]], [[None]], 3.0, np.zeros((2, 3, 4)), [[{}]]]
)
def test_what_are_no_rows_is_refused_here(wrong: object):
    with pytest.raises(Misuse, match="rows"):
        codec.pack(wrong)  # pyright: ignore[reportArgumentType]


def test_what_float32_cannot_hold_is_left_to_the_server_to_refuse():
    (value,) = codec.array_of(codec.pack([[1e300]])).ravel()
    assert np.isinf(value)


def test_tensors_keep_their_kind_and_can_be_written_to():
    views = [
        View("m", "memory", (2, 3), np.arange(6, dtype="<f4").tobytes()),
        View("n", "counter", (5,), np.arange(5, dtype="<i8").tobytes(), "int64"),
    ]
    found = codec.tensors_of(views)
    assert found["m"].array.dtype == np.float32 and found["m"].array.shape == (2, 3)
    assert found["n"].array.dtype == np.int64
    found["m"].array[0, 0] = 7.0


def test_bytes_that_do_not_fit_their_dims_are_no_answer():
    with pytest.raises(BadAnswer, match="expected 24 bytes"):
        codec.array_of(Raw((2, 3), b"1234"))


@pytest.mark.parametrize(
    ("kind", "body"),
    [("application/msgpack", b"\xc1"), ("text/html", b"<p>hello"), ("application/json", b"[]")],
)
def test_another_ones_answer_is_a_bad_answer(kind: str, body: bytes):
    with pytest.raises(BadAnswer):
        codec.decode(answers.Moved, Reply(200, {"content-type": kind}, body))


def test_a_number_that_json_left_out_reads_as_not_a_number():
    view = {"name": "w", "role": "usage", "dims": [3], "data": [1.0, None, 2.0]}
    array = codec.plain_tensors([view])["w"].array
    assert np.array_equal(array, [1, np.nan, 2], equal_nan=True)
    with pytest.raises(BadAnswer):
        codec.plain_tensors([{"name": "w"}])


def fields(kind: type) -> set[str]:
    return {field.name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize(
    ("ours", "servers"),
    [
        (answers.SessionInfo, SessionInfo),
        (answers.Snapshot, SnapshotInfo),
        (answers.Model, schemas.ModelSummary),
        (answers.Moved, schemas.MovedAnswer),
        (calls._Steps, schemas.StepsAnswer),
        (calls._Memory, schemas.MemoryAnswer),
        (calls._Entry, schemas.HistoryEntry),
        (View, schemas.TensorView),
        (Raw, schemas.Tensor),
    ],
)
def test_the_clients_structs_have_what_the_servers_have(ours: type, servers: type):
    assert fields(ours) == fields(servers) - {"replayed"}


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_be_another_path_is_refused(name: str):
    with pytest.raises(Misuse):
        calls.path_of("sessions", name)


def test_a_name_is_quoted():
    assert calls.path_of("sessions", "v2~a/b?c%") == "/v1/sessions/v2~a%2Fb%3Fc%25"
