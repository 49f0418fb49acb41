"""What goes over the wire to each server, and what of an answer are its rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from service.engine.runtime import Floats
from tests.bench.connection import post
from tests.bench.peers.clients import Connect, Connection
from tests.bench.reference import Reference

HEADER_LENGTH = b"inference-header-content-length: "


class Wire(NamedTuple):
    """request: the bytes that session number n sends when `steps` of its requests were answered;
    good: whether an answer says that all went well; outputs: the rows (K, Y) in one that does.
    Answers are whole, over
    HTTP head and body. connect: opens a connection for some sessions."""

    request: Callable[[int, int], bytes]
    good: Callable[[bytes], bool]
    outputs: Callable[[bytes], Floats]
    connect: Connect = Connection


def json_steps(ids: list[str], inputs: list[list[list[float]]]) -> Wire:
    """Ours: POST /v1/sessions/{id}/steps."""
    return _constant(
        [
            post(f"/v1/sessions/{name}/steps", {"inputs": rows})
            for name, rows in zip(ids, inputs, strict=True)
        ],
        json_outputs,
    )


def msgpack_steps(ids: list[str], inputs: list[list[list[float]]]) -> Wire:
    """The same in MessagePack, both ways, with rows as raw float32."""
    kind = "application/msgpack"
    requests: list[bytes] = []
    for name, each in zip(ids, inputs, strict=True):
        rows = np.array(each, np.float32)
        tensor = {"dims": rows.shape, "data": rows.tobytes()}
        data = msgspec.msgpack.encode({"inputs": tensor})
        head = (
            f"POST /v1/sessions/{name}/steps HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: {kind}\r\nAccept: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        requests.append(head.encode() + data)
    return _constant(requests, msgpack_outputs)


def json_named(path: str, inputs: list[list[list[float]]]) -> Wire:
    """mosec's: a POST to `path` that names its session in the body."""
    return _constant(
        [
            post(path, {"session": f"s{number}", "inputs": rows})
            for number, rows in enumerate(inputs)
        ],
        json_outputs,
    )


def json_routed(inputs: list[list[list[float]]]) -> Wire:
    """Ray Serve's: a POST that names its session in a header, by which it is routed."""
    return _constant(
        [
            post("/", {"inputs": rows}, f"x-session-id: s{number}\r\n")
            for number, rows in enumerate(inputs)
        ],
        json_outputs,
    )


def binary_v2(model: str, inputs: list[list[list[float]]]) -> Wire:
    """Ours and Triton's: the Open Inference Protocol with binary tensors, a sequence a session."""
    starts = [_infer(model, number, rows, True) for number, rows in enumerate(inputs)]
    others = [_infer(model, number, rows, False) for number, rows in enumerate(inputs)]
    return Wire(lambda n, steps: (others if steps else starts)[n], http_good, binary_outputs)


def http_good(answer: bytes) -> bool:
    """200?"""
    return answer.startswith(b"HTTP/1.1 200 ")


def json_outputs(answer: bytes) -> Floats:
    """{"outputs": rows} of a JSON body."""
    return np.array(json.loads(answer[answer.index(b"\r\n\r\n") + 4 :])["outputs"], np.float32)


def msgpack_outputs(answer: bytes) -> Floats:
    """The same of a MessagePack body."""
    told = msgspec.msgpack.decode(answer[answer.index(b"\r\n\r\n") + 4 :])["outputs"]
    return np.frombuffer(told["data"], np.float32).reshape(told["dims"])


def binary_outputs(answer: bytes) -> Floats:
    """The one binary tensor behind the JSON of a V2 answer."""
    end = answer.index(b"\r\n\r\n") + 4
    head = answer[:end].lower()
    at = head.index(HEADER_LENGTH) + len(HEADER_LENGTH)
    length = int(head[at : head.index(b"\r", at)])
    (shape,) = (each["shape"] for each in json.loads(answer[end : end + length])["outputs"])
    return np.frombuffer(answer[end + length :], np.float32).reshape(-1, shape[-1])


def inputs_of(reference: Reference, sessions: int, rows: int) -> list[list[list[float]]]:
    """What each session sends with every request."""
    return [reference.inputs(number, rows) for number in range(sessions)]


def _constant(requests: list[bytes], outputs: Callable[[bytes], Floats]) -> Wire:
    return Wire(lambda number, steps: requests[number], http_good, outputs)


def _infer(model: str, number: int, rows: list[list[float]], start: bool) -> bytes:
    x = np.array(rows, np.float32)
    head = {
        "parameters": {"sequence_id": number + 1, "sequence_start": start, "sequence_end": False},
        "inputs": [
            {
                "name": "x",
                "shape": [1, x.shape[1]] if len(x) == 1 else [1, *x.shape],
                "datatype": "FP32",
                "parameters": {"binary_data_size": x.nbytes},
            }
        ],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    }
    data = json.dumps(head, separators=(",", ":")).encode()
    lines = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {len(data)}\r\n"
        f"Content-Length: {len(data) + x.nbytes}\r\n\r\n"
    )
    return lines.encode() + data + x.tobytes()
