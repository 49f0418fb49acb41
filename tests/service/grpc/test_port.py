"""NTM_GRPC_PORT from the outside: refused by name, shared by fronts, drained, and not needed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.environ import SettingsError
from service.grpc.port import hold
from service.settings import Settings
from tests.service.grpc.conftest import kept_port, request, rows, service_pb2, unary
from tests.service.grpc.test_stream import first_and_next, stream
from tests.service.serving import STOP_S, environ, launched, served, until

ROWS = {"inputs": rows(1).tolist()}


def without(*modules: str) -> list[str]:
    """`ntm serve` where these modules are not installed."""
    program = (
        "import sys\n"
        f"for name in {modules!r}: sys.modules[name] = None\n"
        "from service.supervisor import main\n"
        "sys.exit(main([]))"
    )
    return [sys.executable, "-c", program]


@pytest.mark.parametrize(
    ("modules", "package"), [(("grpc",), "grpcio"), (("google.protobuf",), "protobuf")]
)
def test_a_port_without_the_extra_is_refused_by_name(modules: tuple[str, ...], package: str):
    done = subprocess.run(
        without(*modules), env=environ(NTM_GRPC_PORT="9", NTM_PORT="0"), capture_output=True,
        text=True, timeout=STOP_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        f"ntm serve: NTM_GRPC_PORT: expected the extra 'grpc' ({package} is not installed): "
        "pip install -e '.[grpc]'\n"
    )


def test_without_the_setting_no_process_loads_what_the_extra_brings():
    program = (
        "import json, sys\n"
        "import service.cli, service.supervisor, service.front, service.engine.process\n"
        "from service.app import create_app\n"
        "from service.settings import Settings\n"
        "create_app(Settings())\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = json.loads(done.stdout)
    assert "service.grpc.port" in loaded
    assert {"grpc", "google.protobuf", "tritonclient"}.isdisjoint(loaded)


def test_without_the_setting_no_port_is_held():
    assert hold(Settings()) is None


def test_a_port_that_somebody_listens_on_is_refused_by_name(tmp_path: Path, small: Path):
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = str(taken.getsockname()[1])
        with launched(tmp_path, "--port", "0", NTM_GRPC_PORT=port, NTM_MODELS=str(small)) as second:
            assert second.process.wait(30) == 2
            assert second.text() == (
                f"ntm serve: NTM_GRPC_PORT: port {port} of 127.0.0.1 is taken\n"
            )


def test_a_held_port_is_taken_for_another_server_and_free_for_this_one_s_fronts():
    with kept_port() as port:
        pass
    settings = Settings(grpc_port=port)
    held = hold(settings)
    assert held is not None
    with held:
        with pytest.raises(OSError, match=f"NTM_GRPC_PORT: port {port} of 127.0.0.1 is taken"):
            hold(settings)
        for _ in range(2):
            with socket.create_server(("127.0.0.1", port), reuse_port=True):
                pass


def test_an_address_that_is_not_this_machine_s_is_refused():
    with pytest.raises(OSError, match="NTM_GRPC_PORT: port 9 of 192.0.2.1: "):
        hold(Settings(grpc_port=9, host="192.0.2.1"))


def test_a_number_that_is_no_port_is_refused():
    with pytest.raises(SettingsError, match="NTM_GRPC_PORT: expected a whole number"):
        Settings.from_env({"NTM_GRPC_PORT": "65536"})


def test_a_server_says_where_grpc_listens_and_stops_with_a_stream_open(tmp_path: Path, small: Path):
    given = rows(3)
    with kept_port() as port, served(tmp_path, small, NTM_GRPC_PORT=str(port)) as server:
        assert f"  gRPC      127.0.0.1:{port}\n" in server.text()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            asked = iter(first_and_next(given, 7))
            done: list[bool] = []

            def waiting() -> Any:
                yield from asked
                until(lambda: done)  # the client has more to say, later

            call: Any = stream(channel)(waiting())
            answers = [next(call) for _ in given]
            assert [answer.error_message for answer in answers] == [""] * 3
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.RpcError) as ended:
                next(call)
            done.append(True)
            failed: Any = ended.value
            assert failed.code() is grpc.StatusCode.UNAVAILABLE
            assert failed.details().startswith("draining: ")
            assert server.process.wait(STOP_S) == 0


def test_fronts_share_the_port_and_one_that_is_killed_comes_back(tmp_path: Path, small: Path):
    settings = {"NTM_FRONTS": "2", "NTM_MODELS": str(small)}
    with (
        kept_port() as port,
        served(tmp_path, small, NTM_GRPC_PORT=str(port), **settings) as server,
    ):
        fronts = set(server.children("service.front"))
        assert len(fronts) == 2

        def reached() -> set[str]:
            """Which fronts have answered over gRPC: request ids begin with a front's own word."""
            found: set[str] = set()
            for number in range(40):
                options = (("grpc.use_local_subchannel_pool", 1), ("grpc.nonce", number))
                with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
                    live, call = unary(channel, "ServerLive").with_call(b"", timeout=STOP_S)
                    assert service_pb2.ServerLiveResponse.FromString(live).live
                    found.add(dict(call.initial_metadata())["x-request-id"].partition("-")[0])
            return found

        until(lambda: len(reached()) == 2, 60)
        killed = fronts.pop()
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(set(server.children("service.front")) - {killed}) == 2, 60)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = unary(channel)(
                request(rows(1)).SerializeToString(), timeout=STOP_S, wait_for_ready=True
            )
            assert service_pb2.ModelInferResponse.FromString(answer).model_name == "small"


def test_a_server_without_grpc_serves_http(tmp_path: Path, small: Path):
    with served(tmp_path, small) as server, server.client() as client:
        assert client.post("/v1/models/small/predict", json=ROWS).status_code == 200
        assert "gRPC" not in server.text()
