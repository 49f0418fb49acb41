"""Shapes, sizes and counts at and past the edges of 32, 53, 63 and 64 bits."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import grpc
import httpx
import msgspec
import numpy as np
import pytest
import safetensors.numpy
from msgspec.structs import replace

from export.bundle import ManifestInvalid, read_bundle, write_manifest
from model.state import TensorSpec
from service.engine.metrics import EngineMetrics
from service.engine.models import load_hosts
from service.engine.runtime import BackendError
from service.frames import FrameReader, frames_of
from service.settings import ZOO, Settings
from tests.service.grpc.conftest import service_pb2, unary

EDGES = [2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30]
EDGES += [10**400, -1, -(2**31), -(2**63), -(2**63) - 1]
SHAPES = [[1, edge] for edge in EDGES] + [[edge, 1] for edge in EDGES] + [
    [2**32, 2**32], [2**62, 4], [1, 2**32, 2**32], [0, 9], [1, 0], [-1, -9], [1] * 1000, [],
    [3037000500, 3037000500], [1, 1, 9, 1],
]  # fmt: skip
JSON = {"content-type": "application/json"}
MSGPACK = {"content-type": "application/msgpack"}


def infer(shape: Any, **more: Any) -> str:
    """A V2 body, with numbers that no encoder bounds."""
    return json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": [0.0] * 9} | more]}
    )


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape)[:24])
def test_a_shape_that_does_not_fit_its_data_is_refused(
    target: httpx.Client, session: str, shape: list[int]
):
    raw = {"parameters": {"binary_data_size": 36}, "data": None}
    head = infer(shape, **raw).encode()
    headers = {"inference-header-content-length": str(len(head))}
    for answer in (
        target.post("/v2/models/copy/infer", content=infer(shape), headers=JSON),
        target.post("/v2/models/copy/infer", content=head + bytes(36), headers=headers),
    ):
        assert answer.status_code in (400, 413), answer.text
        assert len(answer.content) < 10_000
    rows = json.dumps({"inputs": {"dims": shape, "data": ""}})
    assert target.post(f"{session}/steps", content=rows, headers=JSON).status_code in (400, 413)
    if all(-(2**63) <= size < 2**64 for size in shape):
        packed = msgspec.msgpack.encode({"inputs": {"dims": shape, "data": bytes(36)}})
        answer = target.post(f"{session}/steps", content=packed, headers=MSGPACK)
        assert answer.status_code in (400, 413), answer.text
        state = {"state": {"memory": {"dims": shape, "data": bytes(36)}}}
        packed = msgspec.msgpack.encode(state)
        answer = target.post("/v1/models/copy/sessions", content=packed, headers=MSGPACK)
        assert answer.status_code == 400, answer.text
    assert target.get(session).json()["revision"] == 1


@pytest.mark.parametrize("number", EDGES, ids=lambda number: str(number)[:24])
def test_a_number_past_its_bounds_is_refused_or_finds_nothing(
    target: httpx.Client, session: str, number: int
):
    incarnation = target.get(session).headers["etag"].strip('"').split("-")[0]
    for path, body in [
        (f"{session}/restore", {"step": number}),
        (f"{session}/restore", {"revision": number}),
        (f"{session}/fork", {"step": number}),
        (f"{session}/fork", {"revision": number}),
        ("/v1/models/copy/sessions", {"idle_ttl_s": number}),
    ]:
        answer = target.post(path, content=json.dumps(body), headers=JSON)
        assert answer.status_code in (400, 404) or path.endswith("sessions"), answer.text
        assert answer.status_code < 500
    for query in ("limit", "cursor"):
        found = target.get(f"{session}/history", params={query: str(number)})
        assert found.status_code in (200, 400), found.text
    tag = {"if-match": f'"{incarnation}-{number}"'}
    answer = target.post(f"{session}/reset", headers=tag)
    wanted = ("revision_mismatch", "store_rolled_back", "invalid_request")
    assert answer.json()["code"] in wanted, answer.text
    for last in (f"{incarnation}-{number}", f"{incarnation}-{'9' * 18}"):
        headers = {"last-event-id": last}
        with target.stream("GET", f"{session}/events", headers=headers) as stream:
            assert stream.status_code in (400, 503)  # 503: as far as the store was never
    parameters = [{"sequence_id": number}, {"timeout": number}, {"sequence_id": f"{number}"}]
    for given in parameters:
        body = json.loads(infer([1, 9])) | {"parameters": given}
        answer = target.post("/v2/models/copy/infer", content=json.dumps(body), headers=JSON)
        assert answer.status_code in (200, 400, 404, 504), answer.text
    head = infer([1, 9], parameters={"binary_data_size": number}, data=None)
    for length in (len(head), number):
        headers = {"inference-header-content-length": str(length)}
        answer = target.post("/v2/models/copy/infer", content=head, headers=headers)
        assert answer.status_code == 400, answer.text
    assert target.get(session).json()["revision"] == 1


def test_what_no_frame_can_hold_costs_nobody_else_his_request():
    frames, left = frames_of([1, 2**64, 2, -(2**63) - 1, 3])
    reader = FrameReader(list[int])
    assert [number for frame in frames for part in reader.feed(frame) for number in part] == [
        1,
        2,
        3,
    ]
    assert left == [2**64, -(2**63) - 1]


@pytest.fixture
def channel(attacked: Any, grpc_port: int) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as opened:
        yield opened


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape)[:24])
def test_a_shape_over_grpc_is_refused_as_well(
    target: httpx.Client, channel: grpc.Channel, shape: list[int]
):
    if not all(-(2**63) <= size < 2**63 for size in shape):
        return  # protobuf's int64 holds no other
    for contents in (True, False):
        asked = service_pb2.ModelInferRequest(model_name="copy")
        tensor = asked.inputs.add(name="x", datatype="FP32", shape=shape)
        if contents:
            tensor.contents.fp32_contents.extend([0.0] * 9)
        else:
            asked.raw_input_contents.append(bytes(36))
        with pytest.raises(grpc.RpcError) as caught:
            unary(channel)(asked.SerializeToString(), timeout=20)
        assert caught.value.code().name == "INVALID_ARGUMENT", caught.value


def state_file(target: httpx.Client, session: str) -> tuple[dict[str, Any], bytes]:
    """The header and the tensors of a session's state."""
    data = target.get(f"{session}/state").content
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def put(target: httpx.Client, session: str, header: str, tensors: bytes, length: int = -1) -> Any:
    said = header.encode()
    data = struct.pack("<Q", len(said) if length < 0 else length) + said + tensors
    kind = {"content-type": "application/vnd.safetensors"}
    return target.put(f"{session}/state", content=data, headers=kind)


def test_a_state_file_whose_header_lies_is_refused_before_anything_is_kept(
    target: httpx.Client, session: str
):
    header, tensors = state_file(target, session)
    assert put(target, session, json.dumps(header), tensors).status_code == 200

    def lie(**changed: Any) -> str:
        return json.dumps(header | {"memory": header["memory"] | changed})

    begin, end = header["memory"]["data_offsets"]
    second = next(name for name in header if name not in ("__metadata__", "memory"))
    size = header[second]["data_offsets"][1] - header[second]["data_offsets"][0]
    lies = {
        "10 TB": lie(shape=[10**7, 250_000], data_offsets=[0, 10**13]),
        "a size past 64 bits": lie(shape=[2**40, 2**40]),
        "dims past 64 bits": lie(shape=[2**64, 0]),
        "a negative dim": lie(shape=[-128, -20]),
        "an end before its beginning": lie(data_offsets=[end, begin]),
        "an end past the file": lie(data_offsets=[begin, 2**62]),
        "offsets of another's bytes": json.dumps(
            header | {second: header[second] | {"data_offsets": [begin, begin + size]}}
        ),
        "the dims swapped": lie(shape=header["memory"]["shape"][::-1]),
        "one dim for all": lie(shape=[int(np.prod(header["memory"]["shape"]))]),
        "another dtype of the size": lie(dtype="I64", shape=[128, 10]),
        "a dtype that is none": lie(dtype="F128"),
        "1,000 axes": lie(shape=[1] * 1000 + header["memory"]["shape"]),
        "the name twice": json.dumps(header)[:-1] + f', "memory": {json.dumps(header[second])}}}',
        "a tensor of nothing": json.dumps(
            header | {"x": {"dtype": "F32", "shape": [0], "data_offsets": [end, end]}}
        ),
        "a million axes past 63 bits": lie(shape=[2**31] * 100_000),
        "deep nesting": json.dumps(header)[:-1] + ', "deep": ' + "[" * 100_000,
        "a spec of another": json.dumps(
            header | {"__metadata__": header["__metadata__"] | {"spec": "0" * 64}}
        ),
        "a step of many digits": json.dumps(
            header | {"__metadata__": header["__metadata__"] | {"step": "9" * 5000}}
        ),
        "no metadata": json.dumps({k: v for k, v in header.items() if k != "__metadata__"}),
    }
    for what, said in lies.items():
        answer = put(target, session, said, tensors)
        assert answer.status_code in (400, 409), (what, answer.text)
        assert len(answer.content) < 10_000, what
    for length in (2**63, 2**64 - 1, 2**32, 0, 1):
        assert put(target, session, json.dumps(header), tensors, length).status_code == 400
    for odd in (np.nan, np.inf, -np.inf):
        changed = np.frombuffer(tensors, "<f4").copy()
        changed[begin // 4 + 7] = odd
        answer = put(target, session, json.dumps(header), changed.tobytes())
        assert (answer.status_code, answer.json()["code"]) == (400, "not_finite")
    assert target.get(session).json()["revision"] == 2


def test_negative_zero_and_denormals_are_numbers_like_others(target: httpx.Client, session: str):
    header, tensors = state_file(target, session)
    changed = np.frombuffer(tensors, "<f4").copy()
    changed[:4] = [-0.0, 1e-45, -1e-40, 3.4e38]
    assert put(target, session, json.dumps(header), changed.tobytes()).status_code == 200
    found = target.get(f"{session}/state").content
    arrays = safetensors.numpy.load(found)
    assert found[-len(tensors) :] == changed.tobytes() and "memory" in arrays


def test_a_manifest_whose_sizes_overflow_is_refused_before_its_files_are_read(tmp_path: Path):
    shutil.copytree(Path(ZOO) / "copy" / "bundle", tmp_path / "copy")
    plain = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    (tmp_path / "copy" / "step.onnx").unlink()  # whose absence would be told later
    for dims in ([2**32, 2**32], [10**12], [2**63], [10**4000], [3037000500] * 2, [-1, -20], [0]):
        plain["state"][0]["dims"] = dims
        (tmp_path / "copy" / "manifest.json").write_text(json.dumps(plain))
        with pytest.raises(ManifestInvalid, match="memory"):
            read_bundle(tmp_path / "copy")
    plain["state"][0]["dims"] = [128, 20]
    plain["files"]["step.onnx"]["nbytes"] = 2**62
    (tmp_path / "copy" / "manifest.json").write_text(json.dumps(plain))
    with pytest.raises(ManifestInvalid, match="size of at most"):
        read_bundle(tmp_path / "copy")


@pytest.mark.parametrize(
    ("field", "tensor"),
    [
        ("input", TensorSpec("x", (200_000_000,), "other")),
        ("output", TensorSpec("y", (9,), "other")),
    ],
)
def test_a_manifest_that_is_not_its_graphs_is_refused_before_memory_is_allocated(
    tmp_path: Path, field: str, tensor: TensorSpec
):
    shutil.copytree(Path(ZOO) / "copy" / "bundle", tmp_path / "copy")
    manifest = read_bundle(tmp_path / "copy").manifest
    write_manifest(tmp_path / "copy", replace(manifest, **{field: tensor}))
    wanted = Settings(models=(str(tmp_path / "copy"),), device="cpu", max_batch=4096)
    with pytest.raises(BackendError, match=f"the graph's '{tensor.name}' should be float32"):
        load_hosts(wanted, EngineMetrics())
