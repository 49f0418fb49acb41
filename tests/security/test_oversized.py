"""Bodies that are long, grow when expanded, or are nested: refused, with memory bounded."""

import gzip
import json
import zlib

import httpx
import pytest

from service.depth import check, depth_of
from service.errors import InvalidRequest
from tests.security.wire import exchange, request, statuses
from tests.service.serving import Server, memory_of

MEGABYTE = 1 << 20
JSON = {"content-type": "application/json"}
MSGPACK = {"content-type": "application/msgpack"}
ROW = [0.0] * 9
INPUTS, UNKNOWN, ID = '{"inputs":%s}', '{"unknown":%s}', '{"id":%s}'
STATE, PARAMETERS = '{"state":{"memory":%s}}', '{"parameters":{"p":%s}}'
V2 = '{"inputs":[%s],"unknown":%s}'
DEEP = {
    "lists": "[" * 50_000 + "]" * 50_000,
    "objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "lists never closed": "[" * 100_000,
    "behind a string": '["[[[[\\"", ' + "[" * 33 + "]" * 33 + "]",
    "33 levels": "[" * 32 + "1" + "]" * 32,
}


@pytest.mark.parametrize("deep", DEEP.values(), ids=DEEP)
def test_a_body_that_is_nested_too_deeply_is_refused_by_the_settings_name(
    target: httpx.Client, session: str, deep: str
):
    x = '{"name":"x","shape":[1,9],"datatype":"FP32","data":%s%s}'
    good = json.dumps(ROW)
    for path, body in [
        (f"{session}/steps", INPUTS % deep),
        (f"{session}/steps", UNKNOWN % deep),
        (f"{session}/fork", ID % deep),
        ("/v1/models/copy/sessions", STATE % deep),
        ("/v2/models/copy/infer", V2 % (x % (deep, ""), "1")),
        ("/v2/models/copy/infer", V2 % (x % (good, ""), deep)),
        ("/v2/models/copy/infer", V2 % (x % (good, ""), '1,"parameters":{"p":' + deep + "}")),
        ("/v2/models/copy/infer", V2 % (x % (good, ',"more":' + deep), "1")),
        ("/v2/repository/index", UNKNOWN % deep),
        ("/v2/repository/models/copy/load", PARAMETERS % deep),
    ]:
        answer = target.post(path, content=body, headers=JSON)
        assert answer.status_code == 400, answer.text
        assert "at most 32 levels of nesting (NTM_MAX_DEPTH)" in answer.text, (path, answer.text)
    head = f'{{"inputs":[],"unknown":{deep}}}'.encode()
    headers = {"inference-header-content-length": str(len(head))}
    answer = target.post("/v2/models/copy/infer", content=head + b"[" * 99, headers=headers)
    assert answer.status_code == 400 and "NTM_MAX_DEPTH" in answer.text
    assert target.get(session).json()["revision"] == 1


def test_as_many_levels_as_are_allowed_are_taken(target: httpx.Client):
    levels = "[" * 31 + "]" * 31  # and the object around them
    x = {"name": "x", "shape": [1, 9], "datatype": "FP32", "data": ROW}
    body = V2 % (json.dumps(x), levels)
    assert depth_of(body.encode()) == 32
    assert target.post("/v2/models/copy/infer", content=body, headers=JSON).status_code == 200


def test_brackets_within_strings_are_no_levels(target: httpx.Client):
    x = {"name": "x", "shape": [1, 9], "datatype": "FP32", "data": ROW}
    odd = {"a": "[" * 99, "b": '\\"' + "{" * 99, "\\" * 5: "[[" * 40}
    answer = target.post("/v2/models/copy/infer", json={"inputs": [x], "unknown": odd})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("part", [b"\x91", b"\x81\xa1a", b"\xdc\x00\x01", b"\x81\x91"])
def test_messagepack_ends_at_the_depth_of_its_types(
    target: httpx.Client, session: str, part: bytes
):
    for begin, path in [
        (b"\x81\xa6inputs", f"{session}/steps"),
        (b"\x81\xa5state\x81\xa6memory", "/v1/models/copy/sessions"),
        (b"\x81\xa7unknown", "/v1/models/copy/sessions"),
    ]:
        for count in (11, 31, 900, 100_000):
            answer = target.post(path, content=begin + part * count + b"\xc0", headers=MSGPACK)
            assert answer.status_code == 400, answer.text
            assert answer.json()["code"] in ("invalid_request", "invalid_msgpack")


def test_a_body_that_grows_past_its_bound_is_refused_by_the_settings_name(
    attacked: Server, target: httpx.Client
):
    (front,) = attacked.children("service.front")
    bombs = {
        "gzip": gzip.compress(b" " * (128 * MEGABYTE), 1),
        "deflate": zlib.compress(b"[" * (128 * MEGABYTE), 1),
    }
    before = memory_of(front)
    for _ in range(3):
        for coding, bomb in bombs.items():
            headers = {"content-encoding": coding}
            answer = target.post("/v2/models/copy/infer", content=bomb, headers=headers)
            assert answer.status_code == 413, answer.text
            assert "NTM_MAX_EXPANDED_BYTES" in answer.json()["error"]
            refused = target.post("/v1/models/copy/predict", content=bomb, headers=headers | JSON)
            assert refused.status_code == 415
    assert memory_of(front) - before < 64 * MEGABYTE


def test_the_bound_of_what_is_expanded_is_a_setting_of_its_own(target: httpx.Client):
    x = {"name": "x", "shape": [1, 9], "datatype": "FP32", "data": ROW}
    body = json.dumps({"inputs": [x]}).encode()
    for blanks, status in ((3_900_000, 200), (4_000_000, 413)):
        data = gzip.compress(body + b" " * blanks, 1)
        answer = target.post(
            "/v2/models/copy/infer", content=data, headers={"content-encoding": "gzip"}
        )
        assert answer.status_code == status, answer.text
    plain = target.post("/v2/models/copy/infer", content=body + b" " * 5_000_000)
    assert plain.status_code == 200


def test_the_depth_is_the_settings_and_no_other():
    ten = (INPUTS % ("[" * 9 + "]" * 9)).encode()
    check(ten, 10)
    with pytest.raises(InvalidRequest, match=r"at most 9 levels of nesting \(NTM_MAX_DEPTH\)"):
        check(ten, 9)


def test_an_answer_does_not_repeat_megabytes_of_what_came(target: httpx.Client, session: str):
    for path, body in [
        ("/v1/models/copy/sessions", {"id": "x" * 4_000_000}),
        ("/v1/models/copy/sessions", {"x" * 4_000_000: 1}),
        ("/v1/models/copy/sessions", {"state": {"x" * 4_000_000: [1]}}),
        (f"{session}/migrate", {"version": "x" * 4_000_000}),
        ("/v2/models/copy/infer", {"inputs": [{"name": "x", "shape": [1] * 2_000_000,
                                               "datatype": "FP32", "data": [1]}]}),
        ("/v2/models/copy/infer", {"inputs": [{"name": "y" * 4_000_000, "shape": [1, 9],
                                               "datatype": "FP32", "data": ROW}]}),
    ]:  # fmt: skip
        answer = target.post(path, json=body)
        assert 400 <= answer.status_code < 500 and len(answer.content) < 20_000, path


def test_a_long_path_or_query_is_refused(attacked: Server, target: httpx.Client):
    for path in ("/v1/sessions/" + "a" * 60_000, "/v1/sessions?model=" + "a" * 60_000):
        answer = exchange(attacked, request("GET", path))
        assert statuses(answer) in ([404], [400]) and len(answer) < 80_000
    assert statuses(exchange(attacked, request("GET", "/" + "a" * 400_000))) in ([431], [])
