"""Ways around the key: other spellings of paths and headers, other people's proxies, old keys."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest

from service.settings import ZOO
from tests.security.wire import exchange, statuses
from tests.service.keyed import bearer, new_key, revoke
from tests.service.serving import Server, served, until

ROWS = {"inputs": [[0.5] * 9]}
PATHS = (
    "/v1/sessions", "/v1/sessions/", "//v1/sessions", "/./v1/sessions", "/health/../v1/sessions",
    "/health/live/../../v1/sessions", "/schema/../v1/sessions", "/V1/sessions", "/v1%2fsessions",
    "/%76%31/sessions", "/v1/sessions;x=/health/live", "/v1/sessions?path=/health/live",
    "/v1/sessions%00/health/live", "/health/live%2f..%2f..%2fv1/sessions", "/v2/../v1/sessions",
)  # fmt: skip
HEADERS = (
    {"x-forwarded-for": "127.0.0.1"}, {"x-real-ip": "127.0.0.1"}, {"forwarded": "for=127.0.0.1"},
    {"x-original-url": "/health/live"}, {"x-rewrite-url": "/health/live"},
    {"x-http-method-override": "OPTIONS"}, {"x-tenant": "acme"}, {"x-api-key": "admin"},
    {"cookie": "authorization=Bearer x"}, {"host": "localhost"},
)  # fmt: skip


class Locked:
    """A server with one tenant's session, and that tenant's key."""

    def __init__(self, server: Server, path: Path, key: str) -> None:
        self.server, self.path, self.key = server, path, key
        with server.client(headers=bearer(key)) as client:
            self.session = client.post("/v1/models/copy/sessions", json={"id": "prey"}).json()["id"]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Generator[Locked]:
    folder = tmp_path_factory.mktemp("locked")
    key = new_key(folder / "keys.json", "acme", "read", "step")
    with served(
        folder, Path(ZOO) / "copy" / "bundle", NTM_KEYS=str(folder / "keys.json")
    ) as server:
        yield Locked(server, folder / "keys.json", key)


@pytest.fixture
def nobody(locked: Locked) -> Iterator[httpx.Client]:
    with locked.server.client() as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_gets_past_the_key(locked: Locked, path: str):
    for method in ("GET", "POST", "DELETE", "PUT"):
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        answer = exchange(locked.server, head.encode())
        (status,) = statuses(answer)
        assert status in (400, 401, 404, 405), answer
        assert b"prey" not in answer


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: next(iter(headers)))
def test_no_other_header_stands_for_a_key(nobody: httpx.Client, headers: dict[str, str]):
    assert nobody.get("/v1/sessions", headers=headers).status_code == 401
    assert nobody.get("/metrics", headers=headers).status_code == 401


def test_no_form_of_a_wrong_key_is_taken_for_a_right_one(locked: Locked, nobody: httpx.Client):
    head, name, secret = locked.key.split("_")
    wrong = [
        "", "Bearer", f"Bearer {head}_{name}_", f"Bearer {locked.key[:-1]}",
        f"Bearer {locked.key}x", f"Bearer {locked.key} {locked.key}", f"Basic {locked.key}",
        f"Bearer {locked.key.upper()}", f"Bearer {head}_{name}_{'a' * 52}", locked.key,
        f"Bearer {head}_{'a' * 10}_{secret}", "Bearer null", "Bearer " + "a" * 60_000,
        f"Bearer {head}_%_{secret}", f"Bearer *_{name}_{secret}", f"Bearer,{locked.key}",
    ]  # fmt: skip
    for value in wrong:
        answer = nobody.get("/v1/sessions", headers={"authorization": value})
        assert answer.status_code == 401, value
        assert secret not in answer.text
    for query in ("authorization", "key", "api_key", "access_token"):
        assert nobody.get("/v1/sessions", params={query: locked.key}).status_code == 401
    assert nobody.get("/v1/sessions", headers=bearer(locked.key)).status_code == 200


def test_a_wrong_key_is_told_from_an_unknown_one_by_nothing(locked: Locked, nobody: httpx.Client):
    name = locked.key.split("_")[1]
    told: set[tuple[int, str, str]] = set()
    for key in (f"ntm_{name}_{'a' * 52}", f"ntm_{'a' * 10}_{'a' * 52}", "nonsense"):
        answer = nobody.get("/v1/sessions/prey", headers=bearer(key))
        text = re.sub(r'"request_id":"[^"]*"', "", answer.text)
        told.add((answer.status_code, text, answer.headers["www-authenticate"]))
    assert len(told) == 1


def test_a_key_in_a_trailer_or_a_second_header_lets_nobody_in(locked: Locked):
    chunked = (
        b"POST /v1/models/copy/predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"transfer-encoding: chunked\r\ncontent-type: application/json\r\ntrailer: authorization"
        b'\r\n\r\n21\r\n{"inputs":[[0,0,0,0,0,0,0,0,0]]} \r\n0\r\nauthorization: Bearer '
    )
    answer = exchange(locked.server, chunked + locked.key.encode() + b"\r\n\r\n")
    assert statuses(answer) in ([401], [400])
    twice = (
        f"GET /v1/sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        f"authorization: Bearer {locked.key}\r\nauthorization: Bearer nonsense\r\n\r\n"
    )
    assert statuses(exchange(locked.server, twice.encode())) == [401]


def test_an_old_key_opens_nothing_once_it_is_revoked(locked: Locked, nobody: httpx.Client):
    old = new_key(locked.path, "acme", "read", "step")
    until(lambda: nobody.get("/v1/sessions/prey", headers=bearer(old)).status_code == 200)
    revoke(locked.path, old)
    until(lambda: nobody.get("/v1/sessions/prey", headers=bearer(old)).status_code == 401)
    body = nobody.post("/v1/sessions/prey/steps", headers=bearer(old), json=ROWS)
    assert body.status_code == 401
