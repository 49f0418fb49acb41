"""The worst bodies that the limits let through: the front answers others, the engine lives on."""

import json
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.service.serving import Server, memory_of, until

BYTES = 8 * 1024 * 1024 - 200  # the bound, less what stands around
JSON, MSGPACK = "application/json", "application/msgpack"
ONES = struct.pack(">I", BYTES) + b"\x01" * BYTES  # a MessagePack list, but for its first byte
X = '{"name":"x","shape":[1,9],"datatype":"FP32",%s}'
WORK_S = 3.0  # of the front's processor time, so that a busy machine does not count
STALL_S = 20.0  # however busy


def fill(begin: str, part: str, end: str) -> bytes:
    """A body of the largest size."""
    return (begin + part * ((BYTES - len(begin) - len(end)) // len(part)) + end).encode()


WORST = {
    "brackets": ("/v1/models/copy/predict", JSON, fill('{"inputs":', "[", "")),
    "empty rows": ("/v1/models/copy/predict", JSON, fill('{"inputs":[', "[],", "[]]}")),
    "single rows": ("/v1/models/copy/predict", JSON, fill('{"inputs":[', "[1],", "[null]]}")),
    "one long row": ("/v1/models/copy/predict", JSON, fill('{"inputs":[[', "1,", '"a"]]}')),
    "digits": ("/v1/models/copy/predict", JSON, fill('{"inputs":[[', "1" * 4000 + ",", "1]]}")),
    "many keys": ("/v1/models/copy/sessions", JSON, fill('{"state":{', '"a":[1],', '"b":[]}}')),
    "a long state": ("/v1/models/copy/sessions", JSON, fill('{"state":{"memory":[', "1,", "1]}}")),
    "parameters": ("/v2/models/copy/infer", JSON, fill('{"parameters":{"p":[', '"[",', "1]}}")),
    "a long shape": ("/v2/models/copy/infer", JSON,
                     fill('{"inputs":[{"name":"x","datatype":"FP32","shape":[', "1,", "1]}]}")),
    "nested data": ("/v2/models/copy/infer", JSON,
                    fill('{"inputs":[' + X[:-4] + '"data":[[', "0],[", "0]]}]}")),
    "many inputs": ("/v2/models/copy/infer", JSON,
                    fill('{"inputs":[', X % '"data":[0]' + ",", X % '"data":[0]' + "]}")),
    "small numbers": ("/v1/models/copy/predict", MSGPACK,
                      b"\x81\xa6inputs\x91\xdd" + ONES),
    "a small state": ("/v1/models/copy/sessions", MSGPACK,
                      b"\x81\xa5state\x81\xa6memory\xdd" + ONES),
}  # fmt: skip


def work_of(pid: int) -> float:
    """The processor time that a process has taken, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def watched(server: Server) -> Iterator[list[float]]:
    """How long /health/live took each time, while the block runs."""
    found: list[float] = []
    over = threading.Event()

    def look() -> None:
        with server.client() as client:
            while not over.is_set():
                begun = time.monotonic()
                assert client.get("/health/live").status_code == 200
                found.append(time.monotonic() - begun)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        until(lambda: found)
        yield found
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(("path", "kind", "body"), WORST.values(), ids=WORST)
def test_the_worst_body_stalls_nobody_for_long_and_leaves_no_memory_behind(
    attacked: Server, target: httpx.Client, path: str, kind: str, body: bytes
):
    (front,) = attacked.children("service.front")
    before, begun = memory_of(front), work_of(front)
    with watched(attacked) as waits:
        answer = target.post(path, content=body, headers={"content-type": kind})
    assert 400 <= answer.status_code < 500, answer.text
    assert work_of(front) - begun < WORK_S and max(waits) < STALL_S
    until(lambda: memory_of(front) - before < 100_000_000)  # without a collection to wait for


def test_a_state_file_of_the_largest_size_stalls_nobody(
    attacked: Server, target: httpx.Client, session: str
):
    names = {
        f"{at}": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]} for at in range(100_000)
    }
    header = json.dumps(names).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(4)
    with watched(attacked) as waits:
        headers = {"content-type": "application/vnd.safetensors"}
        answer = target.put(f"{session}/state", content=data, headers=headers)
    assert answer.status_code == 400 and "at most 1024 tensors" in answer.json()["detail"]
    assert max(waits) < STALL_S


def test_steps_of_others_go_on_beside_bad_requests(
    attacked: Server, target: httpx.Client, session: str
):
    over = threading.Event()
    sent = 0

    def attack() -> None:
        nonlocal sent
        with attacked.client() as client:
            while not over.is_set():
                client.get(f"{session}/history", params={"cursor": str(2**64)})
                client.post(f"{session}/steps", content=b"[" * 10_000)
                tag = {"if-match": f'"0-{2**64}"'}
                client.post(f"{session}/reset", headers=tag)
                sent += 3

    thread = threading.Thread(target=attack)
    thread.start()
    try:
        for step in range(1, 61):
            answer = target.post(f"{session}/steps", json={"inputs": [[0] * 9]})
            assert (answer.status_code, answer.json()["step"]) == (200, step)
    finally:
        over.set()
        thread.join()
    assert sent > 10
