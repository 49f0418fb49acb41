"""What a browser is let do, and told, by a real server."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc as triton
from websockets.sync.client import connect

from service.access import SECURITY
from tests.service.grpc.conftest import kept_port
from tests.service.serving import Server, launched, served

APP = "https://app.example"


@pytest.mark.parametrize(
    "path", ["/v1/models", "/nothing", "/schema", "/metrics", "/v2/models/none", "/health/live"]
)
def test_every_answer_tells_browsers_not_to_guess_keep_or_frame_it(client: httpx.Client, path: str):
    answer = client.get(path)
    for name, value in SECURITY:
        assert answer.headers.get_list(name.decode()) == [value.decode()], name


def test_a_name_that_was_made_to_mean_us_does_not_reach_us(client: httpx.Client):
    answer = client.get("/v1/sessions", headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (400, "host_not_allowed")
    assert client.get("/health/live", headers={"host": "10.0.0.7:8000"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_a_form_or_page_of_another_site_changes_nothing(client: httpx.Client, origin: str):
    before = client.get("/v1/tenant").json()["sessions"]
    headers = {"origin": origin, "content-type": "text/plain"}
    for path in ("/v1/models/small/sessions", "/v2/models/small/infer"):
        answer = client.post(path, headers=headers, content=b"")
        assert answer.status_code == 403 and "origin_refused" in answer.text
        assert "access-control-allow-origin" not in answer.headers
    assert client.get("/v1/tenant").json()["sessions"] == before


def test_other_sites_are_let_in_by_name_alone(tmp_path: Path, small: Path):
    with served(tmp_path, small, NTM_CORS_ORIGINS=f"{APP}, https://b.example") as server:
        with server.client() as client:
            asked = {
                "origin": APP,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization,content-type,idempotency-key",
            }
            preflight = client.options("/v1/models/small/sessions", headers=asked)
            assert preflight.status_code in (200, 204)
            assert preflight.headers["access-control-allow-origin"] == APP
            answer = client.post("/v1/models/small/sessions", headers={"origin": APP})
            assert answer.status_code == 201
            assert answer.headers["access-control-allow-origin"] == APP
            assert "etag" in answer.headers["access-control-expose-headers"].lower()
            other = client.options(
                "/v1/models/small/sessions", headers=asked | {"origin": "https://c.example"}
            )
            assert "access-control-allow-origin" not in other.headers


def test_beyond_its_machine_a_server_without_keys_does_not_listen(tmp_path: Path):
    with launched(tmp_path, "--host", "0.0.0.0", "--port", "0") as server:
        assert server.process.wait(60) == 2
        text = server.text()
    assert "NTM_KEYS" in text and "NTM_SERVE_WITHOUT_KEYS=1" in text and "Traceback" not in text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def steps_over_tls(server: Server, trusted: ssl.SSLContext) -> None:
    with server.client(verify=trusted) as client:
        session = client.post("/v1/models/small/sessions").json()["id"]
        body = {"inputs": [[0.5] * 7] * 3}
        assert client.post(f"/v1/sessions/{session}/steps", json=body).json()["step"] == 3
        url = server.url.replace("https", "wss") + f"/v1/sessions/{session}/stream"
        with connect(url, ssl=trusted) as socket:
            assert '"step":3' in str(socket.recv())


def test_it_speaks_tls_on_every_port(tmp_path: Path, small: Path, certificate: tuple[Path, Path]):
    cert, key = certificate
    trusted = ssl.create_default_context(cafile=str(cert))
    with kept_port() as port:
        settings = {"NTM_TLS_CERT": str(cert), "NTM_TLS_KEY": str(key), "NTM_GRPC_PORT": str(port)}
        with served(tmp_path, small, **settings) as server:
            assert server.url.startswith("https://127.0.0.1:")
            steps_over_tls(server, trusted)
            with pytest.raises(httpx.HTTPError):
                httpx.get(server.url.replace("https", "http") + "/health/live")
            with triton.InferenceServerClient(
                f"localhost:{port}", ssl=True, root_certificates=str(cert)
            ) as client:
                assert client.is_server_ready()
            assert server.stop() == 0
