"""`ntm ready` says of a real server, and of none, what is so."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from service import ready_command
from service.settings import ZOO
from tests.ports import free_port
from tests.service.serving import launched, served, until

BUNDLE = Path(ZOO) / "copy" / "bundle"


def ready(*argv: str) -> int:
    return ready_command.main(list(argv))


@pytest.mark.parametrize("hosts", ["", "api.example.com"])
def test_a_server_that_is_ready_is(
    hosts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    settings = {"NTM_DEVICE": "cpu", "NTM_ALLOWED_HOSTS": hosts}
    with served(tmp_path, BUNDLE, **settings) as server:
        port = server.url.rpartition(":")[2]
        monkeypatch.setenv("NTM_PORT", port)
        assert ready() == 0
        monkeypatch.setenv("NTM_PORT", "1")
        assert ready() == 1
        assert ready("--port", port) == 0
        assert capsys.readouterr().err == "ntm ready: the server at port 1 of 127.0.0.1 is not\n"
        (engine,) = server.children("engine.process")
        os.kill(engine, signal.SIGKILL)
        until(lambda: ready("--port", port) == 1)
        until(lambda: ready("--port", port) == 0)


def test_a_server_whose_store_is_away_at_its_start_is_not(tmp_path: Path):
    port = str(free_port())
    store = f"redis://127.0.0.1:{free_port()}/0"
    settings = {"NTM_MODELS": str(BUNDLE), "NTM_STORE": store, "NTM_DEVICE": "cpu"}
    with launched(tmp_path, "--port", port, **settings) as server:
        until(lambda: "Redis" in server.text(), 30)
        assert ready("--port", port) == 1


def test_settings_that_cannot_be_used_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("NTM_PORT", "many")
    assert ready() == 2
    assert "NTM_PORT: expected a whole number" in capsys.readouterr().err
