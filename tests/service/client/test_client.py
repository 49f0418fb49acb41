"""The client that blocks, against the real server."""

import ssl
from pathlib import Path

import httpx
import numpy as np
import pytest

from export.bundle import STEP_ONNX, read_bundle
from service.client import (
    BadAnswer,
    Client,
    InvalidRequest,
    Misuse,
    ModelNotFound,
    NoAnswer,
    NotFound,
    QuotaReached,
    Retries,
    SessionExists,
    SessionNotFound,
    TimedOut,
    Unauthenticated,
)
from service.engine.onnx import OnnxCpu
from service.engine.runtime import Runtime
from tests.service.client.faults import Answer, Proxy
from tests.service.crash.reference import Reference
from tests.service.serving import Server, served
from tests.service.stream.socket import rows_of

ONCE = Retries(0)


def test_the_models_are_listed_and_described(ntm: Client):
    found = {(model.name, model.version): model for model in ntm.models()}
    assert set(found) == {("copy", "1"), ("small", "1"), ("small", "2")}
    assert (found["copy", "1"].input_dims, found["copy", "1"].output_dims) == ((9,), (8,))
    detail = ntm.model("small", "1")
    assert (detail["version"], detail["input"]["dims"]) == ("1", [7])
    with pytest.raises(ModelNotFound) as caught:
        ntm.model("nobody")
    assert "copy 1" in caught.value.expected and caught.value.got == "nobody"


def test_a_prediction_is_what_a_fresh_session_answers(ntm: Client):
    rows = rows_of(1, 6)
    with ntm.session("copy") as session:
        wanted = session.step(rows).outputs
    outputs = ntm.predict("copy", rows)
    assert outputs.dtype == np.float32 and outputs.shape == (6, 8)
    assert np.array_equal(outputs, wanted)
    with pytest.raises(InvalidRequest) as caught:
        ntm.predict("copy", rows[:, :8])
    assert (caught.value.code, caught.value.expected, caught.value.got) == ("wrong_shape", 9, 8)


def test_outputs_are_those_of_the_model_to_the_last_bit(ntm: Client, small: Path):
    bundle = read_bundle(small)
    spec, initial = bundle.manifest.state, bundle.initial_state()
    arrays = [initial[tensor.name] for tensor in spec]
    runtime = Runtime(OnnxCpu(bundle.read(STEP_ONNX), spec, 1), spec, 7, 3, 32, arrays)
    rows = np.random.default_rng(3).uniform(-1, 1, (5, 7)).astype(np.float32)
    reference = Reference(runtime)
    wanted, state = reference.step(reference.initial(), rows)
    with ntm.session("small", version="1") as session:
        assert np.array_equal(session.step(rows).outputs, wanted)
        memory = session.memory()
    for tensor, array in zip(memory.tensors.values(), state, strict=True):
        assert np.array_equal(tensor.array, array)


def test_sessions_are_listed_page_by_page_and_by_model(ntm: Client):
    names = [f"listed-{letter}" for letter in "abcde"]
    made = [ntm.session("small", id=name) for name in names]
    try:
        told = [info.id for info in ntm.sessions("small", page=2)]
        assert [name for name in told if name.startswith("listed-")] == names
        assert told == sorted(told)
        assert not any(info.id in names for info in ntm.sessions("copy"))
    finally:
        for session in made:
            session.delete()


def test_a_client_tells_whether_the_server_is_ready(ntm: Client):
    assert ntm.ready()
    with Client("http://127.0.0.1:1") as nobody:
        assert not nobody.ready()


def test_a_server_that_is_not_there_is_one_error_after_every_try():
    waited: list[float] = []
    policy = Retries(count=3, base_s=0.5)
    with Client("http://127.0.0.1:1", retries=policy, sleep=waited.append) as client:
        with pytest.raises(NoAnswer) as caught:
            client.models()
    assert (caught.value.attempts, caught.value.maybe_done, len(waited)) == (4, False, 3)
    assert all(0 <= pause <= bound for pause, bound in zip(waited, (0.5, 1, 2), strict=True))


def test_a_call_has_its_own_timeout_and_retries(server: Server, ntm: Client):
    def stall(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout(f"{request.extensions['timeout']['read']}")

    with Client(server.url, timeout=9.0, transport=httpx.MockTransport(stall)) as client:
        with pytest.raises(TimedOut, match="timed out") as caught:
            client.models(retries=ONCE)
        assert (caught.value.attempts, caught.value.maybe_done) == (1, True)
    asked: list[float] = []

    def note(request: httpx.Request) -> httpx.Response:
        asked.append(request.extensions["timeout"]["read"])
        return httpx.Response(200, json={"models": []})

    with Client(server.url, timeout=9.0, transport=httpx.MockTransport(note)) as client:
        client.models()
        client.models(timeout=2.5)
    assert asked == [9.0, 2.5]


def test_a_real_timeout_is_its_own_error(ntm: Client):
    with ntm.session("copy") as session, pytest.raises(TimedOut) as caught:
        session.step(rows_of(2, 4096 // 9), timeout=0.001, retries=ONCE)
    assert caught.value.key and caught.value.attempts == 1


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://h", "http://", "http://h:99999", "http://h/?q=1", "localhost:8000"]
)
def test_a_url_that_is_none_is_refused_at_once(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NTM_URL", "nonsense")
    with pytest.raises(Misuse, match="base_url"):
        Client(url)


def test_url_and_key_come_from_the_environment_where_they_are_not_given(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NTM_URL", server.url + "/")
    monkeypatch.setenv("NTM_API_KEY", "ntm_env_secret")
    seen: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"tenant": "t", "scopes": ["read"]})

    transport = httpx.MockTransport(note)
    with Client() as client:
        assert client.ready()
    with Client(transport=transport) as client:
        assert client.tenant() == {"tenant": "t", "scopes": ["read"]}
    with Client("http://other/base", "ntm_given_secret", transport=transport) as client:
        client.tenant()
    monkeypatch.delenv("NTM_API_KEY")
    with Client(transport=transport) as client:
        client.tenant()
    assert [request.headers.get("authorization") for request in seen] == [
        "Bearer ntm_env_secret", "Bearer ntm_given_secret", None,
    ]  # fmt: skip
    assert str(seen[1].url) == "http://other/base/v1/tenant"


@pytest.mark.parametrize("key", ["with space", "newline\n", "\u00e9"])
def test_a_key_that_no_header_can_carry_is_refused(key: str):
    with pytest.raises(Misuse, match="api_key"):
        Client("http://127.0.0.1:1", key)


def test_a_key_that_is_refused_says_so(proxy: Proxy):
    proxy.plan(Answer(401, {"www-authenticate": "Bearer"}, b'{"code": "unauthenticated"}'))
    with Client(proxy.url) as client, pytest.raises(Unauthenticated) as caught:
        client.models()
    assert (caught.value.code, len(proxy.seen)) == ("unauthenticated", 1)


def test_an_answer_of_something_else_is_a_bad_answer(proxy: Proxy):
    proxy.plan(Answer(200, {"content-type": "text/html"}, b"<h1>Welcome</h1>"))
    with Client(proxy.url) as client, pytest.raises(BadAnswer, match="text/html"):
        client.models()


def test_ids_are_quoted_and_unknown_ones_not_found(ntm: Client):
    for name in ("nobody", "a b", "../models", "a%2Fb", "\u00e9"):
        with pytest.raises(NotFound):
            ntm.open(name)
    with pytest.raises(Misuse):
        ntm.open("")


def test_a_session_that_is_there_already_is_a_conflict_of_its_own(ntm: Client):
    with ntm.session("copy", id="taken-once"):
        with pytest.raises(SessionExists):
            ntm.session("copy", id="taken-once")


def test_a_session_is_begun_from_tensors_of_ones_own(ntm: Client):
    memory = np.random.default_rng(5).uniform(-1, 1, (16, 4)).astype(np.float32)
    with ntm.session("small", state={"memory": memory}, idle_ttl_s=60.0) as session:
        assert np.array_equal(session.memory()["memory"], memory)
        info = session.info()
        assert info.expires_at - info.committed_at == pytest.approx(60.0)


def test_a_full_server_says_so_at_once(tmp_path: Path, small: Path):
    with served(tmp_path, small, NTM_MAX_SESSIONS="1") as server, Client(server.url) as client:
        with client.session("small") as first:
            with pytest.raises(QuotaReached) as caught:
                client.session("small")
            assert caught.value.attempts == 1
        with client.session("small") as second:
            assert second.id != first.id
        with pytest.raises(SessionNotFound):
            client.open(first.id)


def test_a_certificate_that_nobody_signed_is_told_at_once(tmp_path: Path):
    with pytest.raises(Misuse, match="verify"):
        Client("https://127.0.0.1:1", verify=str(tmp_path / "none.pem"))
    context = ssl.create_default_context()
    with Client("https://127.0.0.1:1", verify=context) as client:
        assert client.tls is context
