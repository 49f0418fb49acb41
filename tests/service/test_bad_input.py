"""What a client may get wrong: each time a 4xx that names expected and got, and nothing moved."""

import http.client
import json
import socket
import urllib.parse
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.service.serving import ROW, Server

JSON = {"content-type": "application/json"}
MEGABYTE = 1_000_000


def rows_with(value: str) -> bytes:
    """A body of two rows whose last number is this text."""
    return b'{"inputs": [%b, [0,1,0,1,1,0,1,0,%b]]}' % (json.dumps(ROW).encode(), value.encode())


STEPS = [
    ("too few numbers", json.dumps({"inputs": [ROW[:8]]}), 400, "wrong_shape", 9, 8),
    ("too many numbers", json.dumps({"inputs": [[*ROW, 1]]}), 400, "wrong_shape", 9, 10),
    (
        "ragged rows",
        json.dumps({"inputs": [ROW, ROW[:7], ROW]}),
        400,
        "wrong_shape",
        "9 numbers, as in row 0",
        "7 numbers",
    ),
    ("no rows", '{"inputs": []}', 400, "wrong_shape", "at least one row", "no row"),
    ("empty rows", '{"inputs": [[]]}', 400, "wrong_shape", "at least one number", "no numbers"),
    ("a flat row", json.dumps({"inputs": ROW}), 400, "invalid_request", "array", "float"),
    ("NaN", rows_with("NaN"), 400, "not_finite", "within ±3.4028235e38", "NaN"),
    ("Infinity", rows_with("Infinity"), 400, "not_finite", "within ±3.4", "Infinity"),
    ("-Infinity", rows_with("-Infinity"), 400, "not_finite", "within ±3.4", "-Infinity"),
    ("past float32", rows_with("3.5e38"), 400, "not_finite", "within ±3.4028235e38", 3.5e38),
    ("below -float32", rows_with("-1e39"), 400, "not_finite", "within ±3.4028235e38", -1e39),
    ("past float64", rows_with("1e400"), 400, "not_finite", "within ±3.4", "past float64"),
    ("4,000 digits", rows_with("9" * 4000), 400, "not_finite", "within ±3.4", "past float64"),
    ("a string", rows_with('"1"'), 400, "invalid_request", "float", "str"),
    ("a boolean", rows_with("true"), 400, "invalid_request", "float", "bool"),
    ("null", rows_with("null"), 400, "invalid_request", "float", "null"),
    ("an object", rows_with("{}"), 400, "invalid_request", "float", "object"),
    ("100,000 brackets", "[" * 100_000, 400, "invalid_request", "at most 32 levels", "more"),
    (
        "100,000 in inputs",
        '{"inputs":' + "[" * 100_000,
        400,
        "invalid_request",
        "32 levels",
        "more",
    ),
    ("100,000 objects", '{"inputs":' * 100_000, 400, "invalid_request", "NTM_MAX_DEPTH", "more"),
    ("9 in inputs", '{"inputs":' + "[" * 9, 400, "invalid_request", "float", "array"),
    ("truncated", '{"inputs": [[0,1,0', 400, "invalid_json", "a JSON object", "truncated"),
    ("trailing", '{"inputs": [[0]]} {}', 400, "invalid_json", "a JSON object", "trailing"),
    ("empty", "", 400, "invalid_json", "a JSON object", "an empty body"),
    ("no JSON", "inputs=0,1", 400, "invalid_json", "a JSON object", "malformed"),
    ("no UTF-8", b'{"\xff": 1}', 400, "invalid_", "", ""),
    ("an array", "[]", 400, "invalid_request", "object", "array"),
    ("no inputs", "{}", 400, "invalid_request", "'inputs'", "none"),
    (
        "unknown field",
        json.dumps({"inputs": [ROW], "rows": 1}),
        400,
        "invalid_request",
        "one of inputs, trace",
        "'rows'",
    ),
    ("odd trace", json.dumps({"inputs": [ROW], "trace": "yes"}), 400, "invalid_", "bool", "str"),
    (
        "too many rows",
        json.dumps({"inputs": [[0] * 9] * 4097}),
        413,
        "too_many_rows",
        "at most 4096 rows",
        "4097 rows",
    ),
    (
        "9 MB of blanks",
        b" " * 9 * MEGABYTE,
        413,
        "body_too_large",
        "at most 8388608 bytes",
        "9000000 bytes",
    ),
]


def check(
    answer: httpx.Response, status: int, code: str, expected: Any = "", got: Any = ""
) -> dict[str, Any]:
    """An answer is problem details of this status and code that name these two."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and problem["code"].startswith(code), problem
    assert problem["type"] == f"urn:problem-type:ntm:{problem['code']}"
    assert problem["title"] and problem["request_id"] == answer.headers["x-request-id"]
    for name, wanted in (("expected", expected), ("got", got)):
        said = problem[name]
        assert wanted in said if isinstance(wanted, str) else said == wanted, (name, problem)
        assert str(said) in problem["detail"] or repr(said) in problem["detail"], problem
    return problem


@pytest.fixture
def stepped(client: httpx.Client, session: str) -> Iterator[str]:
    """A session at step 1, which must still be there, and go on, when the test is done."""
    first = client.post(f"{session}/steps", json={"inputs": [ROW]})
    assert (first.status_code, first.json()["step"], first.json()["revision"]) == (200, 1, 2)
    yield session
    stands = client.get(session).json()
    assert (stands["step"], stands["revision"]) == (1, 2)
    second = client.post(f"{session}/steps", json={"inputs": [ROW]})
    assert (second.status_code, second.json()["step"], second.json()["revision"]) == (200, 2, 3)


@pytest.mark.parametrize(
    ("body", "status", "code", "expected", "got"),
    [case[1:] for case in STEPS],
    ids=[case[0] for case in STEPS],
)
def test_steps_that_cannot_be_taken_move_nothing(
    client: httpx.Client,
    stepped: str,
    body: str | bytes,
    status: int,
    code: str,
    expected: Any,
    got: Any,
):
    answer = client.post(f"{stepped}/steps", content=body, headers=JSON)
    check(answer, status, code, expected, got)


@pytest.mark.parametrize(
    ("body", "status", "code", "expected", "got"),
    [case[1:] for case in STEPS if case[0] not in ("odd trace", "unknown field")],
    ids=[case[0] for case in STEPS if case[0] not in ("odd trace", "unknown field")],
)
def test_a_prediction_refuses_the_same(
    client: httpx.Client, body: str | bytes, status: int, code: str, expected: Any, got: Any
):
    answer = client.post("/v1/models/copy/predict", content=body, headers=JSON)
    check(answer, status, code, expected, got)


def test_a_body_of_50_megabytes_is_refused_without_being_read(server: Server, stepped: str):
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        f"POST {stepped}/steps HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {50 * MEGABYTE}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(head.encode() + b" " * 1000)  # and not one byte more
        answer = b"".join(iter(lambda: raw.recv(65536), b""))  # until the server has waited enough
    assert answer.startswith(b"HTTP/1.1 413 ")
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (problem["code"], problem["got"]) == ("body_too_large", "50000000 bytes")


def test_a_body_of_50_megabytes_that_does_not_say_so_is_refused_as_well(
    client: httpx.Client, stepped: str
):
    def blanks() -> Iterator[bytes]:
        for _ in range(50):
            yield b" " * MEGABYTE

    answer = client.post(f"{stepped}/steps", content=blanks(), headers=JSON)
    check(answer, 413, "body_too_large", "at most 8388608 bytes", "more")
    assert client.get(stepped).json()["step"] == 1  # on the same connection


def test_a_client_that_sends_all_50_megabytes_first_still_reads_the_answer(
    server: Server, stepped: str
):
    host, port = server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    for _ in range(2):  # and the connection is as good as before
        connection.request("POST", f"{stepped}/steps", b" " * 50 * MEGABYTE, JSON)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (413, "body_too_large")
    connection.close()


def test_one_who_sends_on_and_on_after_its_answer_is_hung_up_on(server: Server, stepped: str):
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        f"POST {stepped}/steps HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {10**12}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(head.encode())
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(200):
                raw.sendall(b" " * MEGABYTE)


def test_another_content_type_is_refused(client: httpx.Client, stepped: str):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = client.post(
            f"{stepped}/steps", json={"inputs": [ROW]}, headers={"content-type": kind}
        )
        check(answer, 415, "unsupported_media_type", "application/json", kind)


def test_a_compressed_body_is_refused(client: httpx.Client, stepped: str):
    answer = client.post(
        f"{stepped}/steps", json={"inputs": [ROW]}, headers={"content-encoding": "gzip"}
    )
    check(answer, 415, "unsupported_media_type", "identity", "gzip")


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("idempotency-key", "two words", "visible ASCII"),
        ("idempotency-key", "k" * 256, "1 to 255"),
        ("if-match", "no-quotes", "one entity tag in quotes"),
        ("if-match", '"a", "b"', "one entity tag in quotes"),
    ],
)
def test_a_malformed_guard_is_refused(
    client: httpx.Client, stepped: str, header: str, value: str, expected: str
):
    answer = client.post(f"{stepped}/steps", json={"inputs": [ROW]}, headers={header: value})
    check(answer, 400, "invalid_request", expected, value)


@pytest.mark.parametrize("name", ["unknown", "a" * 65, "%2e%2e", "%00", "ä", "'--", "a%20b"])
@pytest.mark.parametrize(
    ("method", "tail"), [("GET", ""), ("DELETE", ""), ("GET", "/memory"), ("POST", "/steps")]
)
def test_a_session_that_nobody_created_is_not_found(
    client: httpx.Client, name: str, method: str, tail: str
):
    body = json.dumps({"inputs": [ROW]}) if method == "POST" else None
    answer = client.request(method, f"/v1/sessions/{name}{tail}", content=body, headers=JSON)
    problem = check(answer, 404, "session_not_found", "the id of a live session")
    assert problem["got"] == urllib.parse.unquote(name)


def test_a_path_that_climbs_finds_no_route(client: httpx.Client):
    for path in ("/v1/sessions/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/v1/models/a%2fb%2fc"):
        answer = client.get(path)
        check(answer, 404, "route_not_found", "a path that /schema lists")


@pytest.mark.parametrize("name", ["unknown", "COPY", "copy ", "a" * 65, "%2e%2e", "copy%00"])
def test_a_model_that_is_not_loaded_is_not_found(client: httpx.Client, name: str):
    for method, path, body in [
        ("GET", f"/v1/models/{name}", None),
        ("POST", f"/v1/models/{name}/sessions", "{}"),
        ("POST", f"/v1/models/{name}/predict", json.dumps({"inputs": [ROW]})),
    ]:
        answer = client.request(method, path, content=body, headers=JSON)
        check(answer, 404, "model_not_found", "", "")


@pytest.mark.parametrize(
    ("body", "code", "expected", "got"),
    [
        ('{"id": "a b"}', "invalid_request", "[A-Za-z0-9]", "a b"),
        ('{"id": ""}', "invalid_request", "[A-Za-z0-9]", ""),
        ('{"id": "../../etc/passwd"}', "invalid_request", "[A-Za-z0-9]", "../../etc/passwd"),
        ('{"id": 7}', "invalid_request", "str", "int"),
        ('{"idle_ttl_s": 0}', "invalid_request", "> 0", ""),
        ('{"idle_ttl_s": 1e12}', "invalid_request", "<= 31622400", ""),
        ('{"idle_ttl_s": "1"}', "invalid_request", "float", "str"),
        ('{"ttl": 1}', "invalid_request", "one of id, version, idle_ttl_s, state", "'ttl'"),
        ('{"state": {"nothing": [1]}}', "invalid_request", "one of memory", "nothing"),
        ('{"state": {"memory": [[1, 2]]}}', "wrong_shape", "a list of 128", "1"),
        ('{"state": {"memory": 1}}', "invalid_request", "array", "int"),
        ('{"state": {"memory": %s}}' % ("[" * 100_000), "invalid_request", "32 levels", "more"),
        ('{"state": {"memory": %s}}' % ("[" * 20), "invalid_request", "float", "array"),
        ("{", "invalid_json", "a JSON object", "truncated"),
        ("[]", "invalid_request", "object", "array"),
    ],
    ids=lambda value: value[:30],
)
def test_a_session_that_cannot_be_created_is_not(
    client: httpx.Client, body: str, code: str, expected: str, got: str
):
    before = client.get("/v1/sessions?limit=1000").json()
    answer = client.post("/v1/models/copy/sessions", content=body, headers=JSON)
    check(answer, 400, code, expected, got)
    assert client.get("/v1/sessions?limit=1000").json() == before


def test_a_version_that_is_not_loaded_is_not_found(client: httpx.Client):
    for answer in (
        client.post("/v1/models/copy/sessions", json={"version": "9"}),
        client.post("/v1/models/copy/predict", json={"version": "9", "inputs": [ROW]}),
        client.get("/v1/models/copy?version=9"),
    ):
        check(answer, 404, "model_not_found")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=many", "limit=1.5", "limit="])
def test_a_limit_out_of_range_is_refused(client: httpx.Client, query: str):
    answer = client.get(f"/v1/sessions?{query}")
    problem = check(answer, 400, "invalid_request", "int", query.partition("=")[2])
    assert problem["where"] == "limit"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/v22", "/v1/sessions/a/b/c", "/SCHEMA"]
)
def test_a_path_without_a_route_is_not_found(client: httpx.Client, path: str):
    check(client.get(path), 404, "route_not_found", "a path that /schema lists", path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/sessions/a"),
        ("GET", "/v1/sessions/a/steps"),
        ("POST", "/v1/models"),
        ("PATCH", "/health/live"),
        ("TRACE", "/v1/models"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_refused_naming_those_it_does(
    client: httpx.Client, method: str, path: str
):
    answer = client.request(method, path)
    problem = check(answer, 405, "method_not_allowed", "", method)
    assert set(answer.headers["allow"].split(", ")) == set(problem["expected"].split(", "))


def test_a_large_body_to_no_route_is_not_waited_for(server: Server):
    host, port = server.url.removeprefix("http://").split(":")
    head = f"POST /nothing HTTP/1.1\r\nhost: {host}\r\ncontent-length: {50 * MEGABYTE}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(head.encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"BREW /v1/models HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"POST /v1/models HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a/b c\r\nconnection: close\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_a_400_and_the_server_stays_up(
    server: Server, client: httpx.Client, request_: bytes
):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(request_)
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert client.get("/health/ready").status_code == 200


def test_after_all_of_this_nothing_was_a_server_error(client: httpx.Client):
    for body in (b"\xff" * 100, b"{" * 1000, b'{"inputs": [[' + b"1," * 1000):
        client.post("/v1/models/copy/predict", content=body, headers=JSON)
    failed = [line for line in client.get("/metrics").text.splitlines() if 'status="5' in line]
    starting = 'route="/health/ready",status="503"'  # until it was ready
    assert [line for line in failed if starting not in line] == []


@pytest.mark.parametrize("ttl", ["-1", "0", "1e300"])
def test_a_number_out_of_range_is_named(client: httpx.Client, ttl: str):
    answer = client.post(
        "/v1/models/copy/sessions", content=b'{"idle_ttl_s": %s}' % ttl.encode(), headers=JSON
    )
    told = answer.json()
    assert (answer.status_code, told["code"]) == (400, "invalid_request")
    assert (told["where"], float(told["got"])) == ("$.idle_ttl_s", float(ttl))


def test_half_a_surrogate_pair_is_not_called_truncated(client: httpx.Client, stepped: str):
    answer = client.post(f"{stepped}/steps", content=b'{"inputs": [["\\ud800"]]}', headers=JSON)
    check(answer, 400, "invalid_json", "a JSON object", "surrogate")
