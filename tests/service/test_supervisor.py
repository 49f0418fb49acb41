import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from service.settings import Settings
from service.supervisor import bind, main
from tests.service.serving import STOP_S, Server, alive, launched, served, until

ROW = [1, 0, 1, 0, 1, 0, 0]
LONG = {"inputs": [ROW] * 4096}  # rows that keep the engine busy for a while


def status(client: httpx.Client, path: str = "/health/ready") -> int:
    """The status of a request, 0 where there is no answer."""
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return 0


def test_a_server_says_where_it_listens_and_one_curl_line_that_works(server: Server):
    said = server.text()
    assert f"listens on {server.url}" in said
    assert f"{server.url}/schema" in said
    assert "copy 1 (ntm, onnx on" in said
    (line,) = [part.partition("curl")[2] for part in said.splitlines() if "curl" in part]
    if shutil.which("curl"):
        done = subprocess.run(["curl", *shlex.split(line)], capture_output=True, check=True)
        outputs = json.loads(done.stdout)["outputs"]
    else:
        *_, url, _, header, _, body = shlex.split(line)
        name, _, value = header.partition(": ")
        outputs = httpx.post(url, content=body, headers={name: value}).json()["outputs"]
    assert len(outputs) == 1 and len(outputs[0]) == 8


def test_a_taken_port_is_refused_by_name(server: Server, tmp_path: Path, small: Path):
    port = server.url.rpartition(":")[2]
    with launched(tmp_path, "--port", port, NTM_MODELS=str(small)) as second:
        assert second.process.wait(30) == 2
        assert second.text() == (
            f"ntm serve: port {port} of 127.0.0.1 is taken: "
            "end what listens there, or give --port\n"
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"NTM_PORT": "http"}, "NTM_PORT: expected a whole number from 0 to 65535, got 'http'"),
        ({"NTM_PROT": "1"}, "NTM_PROT: there is no such setting; did you mean NTM_PORT?"),
    ],
)
def test_unusable_settings_are_refused_by_name(
    tmp_path: Path, settings: dict[str, str], message: str
):
    with launched(tmp_path, **settings) as refused:
        assert refused.process.wait(30) == 2
        assert refused.text() == f"ntm serve: {message}\n"


def test_an_address_that_is_not_this_machines_is_refused():
    with pytest.raises(OSError, match="cannot listen on port 0 of 192.0.2.1"):
        bind("192.0.2.1", 0)


def test_a_server_without_a_bundle_ends_and_says_why(tmp_path: Path):
    with launched(tmp_path, "--port", "0", NTM_MODELS=str(tmp_path)) as empty:
        assert empty.process.wait(30) == 1
        assert f"no bundle in {tmp_path}" in empty.text()
        assert "the engine ended" in empty.text()


def test_an_engine_that_is_killed_comes_back_and_meanwhile_requests_get_503(
    tmp_path: Path, small: Path
):
    with served(tmp_path, small) as server, server.client() as client:
        (before,) = server.children("service.engine.process")
        os.kill(before, signal.SIGKILL)
        answer = until(lambda: (got := client.get("/v1/models")).status_code != 200 and got)
        assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
        assert answer.headers["retry-after"] == "1"
        until(lambda: status(client) == 200, 60)
        (after,) = server.children("service.engine.process")
        assert after != before
        assert client.post("/v1/models/small/predict", json={"inputs": [ROW]}).status_code == 200
        assert "the engine ended (-9); starting it again" in server.text()


def test_a_front_that_is_killed_comes_back_and_sessions_live_on(tmp_path: Path, small: Path):
    with served(tmp_path, small) as server, server.client() as client:
        made = client.post("/v1/models/small/sessions").json()
        session = f"/v1/sessions/{made['id']}"
        assert client.post(f"{session}/steps", json={"inputs": [ROW]}).json()["step"] == 1
        (front,) = server.children("service.front")
        os.kill(front, signal.SIGKILL)
        until(lambda: status(client, session) == 200, 60)
        assert client.get(session).json()["step"] == 1
        assert server.children("service.front") != [front]


def test_sigterm_lets_a_request_under_way_finish_and_ends_with_0(tmp_path: Path, small: Path):
    with served(tmp_path, small) as server, server.client() as client:
        answers: list[httpx.Response] = []

        def ask() -> None:
            with server.client() as mine:
                answers.append(mine.post("/v1/models/small/predict", json=LONG))

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: 'ntm_queue_depth{model="small"} 1.0' in client.get("/metrics").text)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: status(client) == 0)  # nothing new is taken
        assert server.process.wait(STOP_S) == 0
        asking.join()
        assert answers[0].status_code == 200
        assert len(answers[0].json()["outputs"]) == 4096


def test_sigint_ends_a_server_as_well(tmp_path: Path, small: Path):
    with served(tmp_path, small) as server:
        children = [*server.children("service.engine"), *server.children("service.front")]
        assert len(children) == 2
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(STOP_S) == 0
        assert not any(alive(pid) for pid in children)


def test_a_request_that_outlasts_the_drain_is_cut_short(tmp_path: Path, small: Path):
    with served(tmp_path, small, NTM_DRAIN_S="0", NTM_MAX_ROWS="1048576") as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            raw.sendall(b"POST /v1/models/small/predict HTTP/1.1\r\nhost: localhost\r\n")
            raw.sendall(b"content-length: 100\r\n\r\n")  # and never a body
            with server.client() as client:
                until(lambda: '_in_flight{front="0"} 2.0' in client.get("/metrics").text)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(STOP_S) == 0


def test_children_end_with_a_supervisor_that_is_killed(tmp_path: Path, small: Path):
    with served(tmp_path, small) as server:
        children = [*server.children("service.engine"), *server.children("service.front")]
        assert len(children) == 2
        server.process.kill()
        server.process.wait(STOP_S)
        until(lambda: not any(alive(pid) for pid in children))


def test_several_fronts_share_one_port_and_one_exposition(tmp_path: Path, small: Path):
    with served(tmp_path, small, NTM_FRONTS="2") as server:
        assert len(server.children("service.front")) == 2

        def both() -> bool:
            with server.client() as client:  # a fresh connection: either front may take it
                client.post("/v1/models/small/predict", json={"inputs": [ROW]})
                text = client.get("/metrics").text
            counted = 'ntm_http_requests_total{front="%d",method="POST"'
            return all(counted % number in text for number in (0, 1))

        until(both, 60)
        assert server.stop() == 0


def test_the_runtime_folder_goes_with_the_server(tmp_path: Path, small: Path):
    with served(tmp_path, small, TMPDIR=str(tmp_path)) as server:
        (folder,) = tmp_path.glob("ntm-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "engine.sock").is_socket()
        assert server.stop() == 0
        assert not folder.exists()


def test_command_line_options_go_over_the_environment(tmp_path: Path, small: Path):
    options = ("--host", "127.0.0.1", "--port", "0")
    settings = {"NTM_HOST": "192.0.2.1", "NTM_PORT": "1", "NTM_MODELS": str(small)}
    with launched(tmp_path, *options, **settings) as server:
        server.wait_until_listening()
        assert server.url.startswith("http://127.0.0.1:")
        assert server.url != "http://127.0.0.1:1"


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(variable in said for variable in Settings().to_env())
