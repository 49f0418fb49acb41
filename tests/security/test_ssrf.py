"""No request and no setting makes the server fetch anything from anywhere."""

import ast
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from service.environ import SettingsError
from service.settings import Settings
from tests.security.wire import exchange, request, statuses
from tests.service.serving import Server, launched

ROOT = Path(__file__).resolve().parent.parent.parent
CLIENTS = {
    "http.client", "urllib.request", "urllib3", "httpx", "requests", "aiohttp", "ftplib",
    "websockets.client", "websockets.sync.client", "smtplib", "fsspec", "boto3", "huggingface_hub",
}  # fmt: skip


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Where an attacker waits. Nobody may have called when the test is over."""
    with socket.create_server(("127.0.0.1", 0)) as waiting:
        waiting.setblocking(False)
        yield waiting
        with pytest.raises(BlockingIOError):
            waiting.accept()


def urls(waiting: socket.socket) -> list[str]:
    port = waiting.getsockname()[1]
    there = f"127.0.0.1:{port}/model"
    return [f"http://{there}", f"https://{there}", f"ftp://{there}", f"//{there}", "file:///etc",
            f"s3://{there}", f"\\\\127.0.0.1@{port}\\model", there]  # fmt: skip


def test_the_listener_notices_one_who_calls(listener: socket.socket):
    with socket.create_connection(listener.getsockname()[:2]):
        listener.accept()[0].close()


def test_models_by_url_are_refused_before_anything_starts(tmp_path: Path, listener: socket.socket):
    url = urls(listener)[0]
    with pytest.raises(SettingsError, match="NTM_MODELS: expected folders of this machine"):
        Settings.from_env({"NTM_MODELS": f"model/zoo:{url}"})
    with launched(tmp_path, "--port", "0", NTM_MODELS=url) as server:
        assert server.process.wait(30) == 2
        assert "nothing is fetched" in server.text()


def test_a_model_by_url_is_a_model_that_is_not_there(
    attacked: Server, target: httpx.Client, listener: socket.socket
):
    for url in urls(listener):
        for text in (url, quote(url, safe=""), quote(quote(url, safe=""), safe="")):
            path = text if text.isascii() else quote(text)
            for operation in ("load", "unload"):
                to = f"/v2/repository/models/{path}/{operation}"
                assert statuses(exchange(attacked, request("POST", to))) in ([404], [400]), to
            assert statuses(exchange(attacked, request("GET", f"/v1/models/{path}"))) == [404]
        for body in ({"version": url, "inputs": [[0] * 9]}, {"inputs": [[0] * 9], "url": url}):
            assert target.post("/v1/models/copy/predict", json=body).status_code in (400, 404)


def test_a_load_brings_no_configuration_and_no_files(target: httpx.Client, listener: socket.socket):
    for parameters in (
        {"url": urls(listener)[0]},
        {"config": json.dumps({"backend": "python", "default_model_filename": "/etc/passwd"})},
        {"file:1/model.onnx": "AAAA"},
        {"file:../../../../tmp/x": "AAAA"},
        {"model_uri": urls(listener)[0]},
    ):
        answer = target.post("/v2/repository/models/copy/load", json={"parameters": parameters})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"].startswith("invalid_request: parameters: expected none")


@pytest.mark.parametrize("root", ["service.front", "service.engine.process"])
def test_neither_front_nor_engine_holds_a_client_of_any_protocol(root: str):
    seen: set[str] = set()
    assert {name for name in reached(root, seen) if name in CLIENTS} == set()
    assert len(seen) > 20  # it did look


def test_the_search_finds_a_client():
    assert "http.client" in reached("service.supervisor", set())  # the probe of its own port


def reached(module: str, seen: set[str]) -> set[str]:
    """All that a module of ours imports, itself or through others of ours."""
    path = ROOT.joinpath(*module.split("."))
    file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    if module in seen or not file.exists():
        return set()
    seen.add(module)
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    for name in sorted(found):
        if name.split(".")[0] in ("service", "export", "model"):
            found |= reached(name, seen)
    return found
