"""No name in a request, and no link in a folder, leads anywhere but where names lead."""

import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from export.bundle import FileOutside, read_bundle
from service.app import create_app
from service.engine.sessions import ID_PATTERN
from service.folders import find_bundles
from service.link import EngineLink
from service.settings import ZOO, Settings
from service.store.redis_format import keys_of
from service.store.redis_index import tag_of
from service.store.store import SessionKey
from tests.security.wire import exchange, request, statuses
from tests.service.serving import Server, client_of

COPY = Path(ZOO) / "copy" / "bundle"
NAMES = [
    "..", "../..", "../../../../etc/passwd", "/etc/passwd", "..\\..\\x", "a/../copy", "copy/.",
    ".", "./copy", "copy\0", "\0", "copy\n", "~root", "$HOME", "`id`", "copy;id", "a b", "*", "?",
    "'; DROP TABLE sessions; --", "ntm:{default}:session", "a}b{c", "x" * 65, "x" * 5000,
    "\N{DIVISION SLASH}etc", "\N{FULLWIDTH FULL STOP}" * 2, "copy\N{ZERO WIDTH SPACE}", "",
]  # fmt: skip
CODES = {
    "invalid_request", "session_not_found", "model_not_found", "route_not_found",
    "point_not_kept", "method_not_allowed",
}  # fmt: skip


def standing(target: httpx.Client, folder: Path) -> Any:
    """What an attack must not have changed: sessions, models, files."""
    files = sorted(str(path) for path in folder.rglob("*") if path.name != "server.log")
    sessions = target.get("/v1/sessions?limit=1000").json()["sessions"]
    stand = [(one["id"], one["incarnation"], one["revision"]) for one in sessions]
    return stand, target.get("/v1/models").json(), files


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
def test_a_name_in_a_path_leads_nowhere(
    attacked: Server, target: httpx.Client, folder: Path, name: str
):
    before = standing(target, folder)
    once = quote(name, safe="")
    for text in {once, quote(once, safe="")} - {""}:
        for method, path in [
            ("GET", f"/v1/sessions/{text}"), ("GET", f"/v1/sessions/{text}/state"),
            ("DELETE", f"/v1/sessions/{text}"), ("GET", f"/v1/sessions/{text}/events"),
            ("POST", f"/v1/models/{text}/sessions"), ("GET", f"/v2/models/{text}/config"),
            ("DELETE", f"/v1/models/copy/versions/{text}"),
            ("GET", f"/v2/models/copy/versions/{text}/stats"),
            ("POST", f"/v2/repository/models/{text}/load"),
            ("POST", f"/v2/repository/models/{text}/unload"),
        ]:  # fmt: skip
            answer = exchange(attacked, request(method, path))
            assert statuses(answer) in ([404], [405], [400]), (path, answer)
            assert b"root:" not in answer
    assert standing(target, folder) == before


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
def test_a_name_in_a_body_or_a_query_leads_nowhere(
    target: httpx.Client, session: str, folder: Path, name: str
):
    before = standing(target, folder)
    rows = [[0] * 9]
    for key in ({}, {"idempotency-key": f"k{len(name)}"}):
        for path, body in [
            ("/v1/models/copy/sessions", {"id": name}),
            ("/v1/models/copy/sessions", {"version": name}),
            ("/v1/models/copy/predict", {"version": name, "inputs": rows}),
            (f"{session}/fork", {"id": name}),
            (f"{session}/fork", {"snapshot": name}),
            (f"{session}/snapshots", {"name": name}),
            (f"{session}/restore", {"snapshot": name}),
            (f"{session}/migrate", {"version": name}),
        ]:
            refused(target.post(path, json=body, headers=key), (400, 404))
    refused(target.get("/v1/sessions", params={"cursor": name}), (400,))
    refused(target.get("/v1/sessions", params={"model": name}), (400,))
    refused(target.get("/v1/models/copy", params={"version": name}), (404,))
    refused(target.get(f"{session}/events", params={"include": name or ".."}), (400,))
    assert standing(target, folder) == before


def refused(answer: httpx.Response, statuses: tuple[int, ...]) -> None:
    """A clear refusal, with one of the codes that clients know."""
    assert answer.status_code in statuses, answer.text
    assert answer.json()["code"] in CODES


@pytest.mark.parametrize("name", [".hidden", "../x", "a\0b", "x" * 65, "COPY MODEL", "{}"])
async def test_what_can_be_no_name_is_refused_before_the_engine_is_asked(name: str):
    """There is no engine here: whatever would ask it gets 503."""
    text = quote(quote(name, safe=""), safe="") if "/" in name else quote(name, safe="")
    refusals = [
        ("GET", f"/v1/sessions/{text}", None), ("GET", f"/v1/models/{text}", None),
        ("GET", f"/v1/sessions/{text}/history", None), ("GET", f"/v1/sessions?cursor={text}", None),
        ("GET", f"/v1/sessions?model={text}", None), ("GET", f"/v2/models/{text}/config", None),
        ("GET", f"/v1/models/copy?version={text}", None),
        ("GET", f"/v2/models/copy/versions/{text}/stats", None),
        ("DELETE", f"/v1/models/copy/versions/{text}", None),
        ("POST", f"/v1/sessions/{text}/steps", {"inputs": [[0] * 9]}),
        ("POST", f"/v1/models/{text}/sessions", {}),
        ("POST", "/v1/models/copy/sessions", {"id": name}),
        ("POST", "/v1/models/copy/sessions", {"version": name}),
        ("POST", "/v1/models/copy/predict", {"version": name, "inputs": [[0] * 9]}),
        ("POST", "/v1/sessions/a/fork", {"id": name}),
        ("POST", "/v1/sessions/a/fork", {"snapshot": name}),
        ("POST", "/v1/sessions/a/restore", {"snapshot": name}),
        ("POST", "/v1/sessions/a/snapshots", {"name": name}),
        ("POST", "/v1/sessions/a/migrate", {"version": name}),
        ("POST", f"/v2/repository/models/{text}/load", {}),
        ("POST", f"/v2/repository/models/{text}/unload", {}),
    ]  # fmt: skip
    app = create_app(Settings(engine_socket="/nonexistent"), EngineLink("/nonexistent", 1.0))
    async with client_of(app) as client:
        asked = await client.get("/v1/sessions/possible")
        assert asked.json()["code"] == "engine_unavailable"
        for method, path, body in refusals:
            answer = await client.request(method, path, json=body)
            assert answer.status_code in (400, 404), (path, body, answer.text)


def test_a_sequence_of_any_name_stays_within_its_own_prefix(target: httpx.Client, folder: Path):
    for name in filter(None, NAMES):
        tensor = {"name": "x", "shape": [1, 9], "datatype": "FP32", "data": [0] * 9}
        flags = {"sequence_id": name, "sequence_start": True, "sequence_end": True}
        answer = target.post(
            "/v2/models/copy/infer", json={"inputs": [tensor], "parameters": flags}
        )
        if len(name.encode()) > 1024:
            assert answer.status_code == 400
            continue
        assert answer.status_code == 200, answer.text
        session = answer.json()["parameters"]["session"]
        assert session.startswith("v2~copy~string~") or session[3:].isalnum(), session
        assert ID_PATTERN.fullmatch(session)
    assert not [path for path in folder.rglob("*") if "passwd" in path.name]


def test_no_id_leaves_its_place_in_redis():
    for name in NAMES:
        for key in keys_of(SessionKey(name, name)):
            assert key.count("{") == key.count("}") == 1 and key.isascii()
            assert key.split("}")[0].count("/") == 1
        assert tag_of(name, name).count("/") == 1


def test_a_link_out_of_the_models_folder_is_refused(tmp_path: Path):
    shutil.copytree(COPY, tmp_path / "elsewhere")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "copy").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileOutside, match="copy should lie in .*models, leads to .*elsewhere"):
        find_bundles([str(tmp_path / "models")])


def test_a_link_out_of_an_entry_of_a_zoo_is_refused(tmp_path: Path):
    shutil.copytree(COPY, tmp_path / "elsewhere")
    (tmp_path / "zoo" / "copy").mkdir(parents=True)
    (tmp_path / "zoo" / "copy" / "bundle").symlink_to("../../elsewhere")
    with pytest.raises(FileOutside, match="leads to"):
        find_bundles([str(tmp_path / "zoo")])


def test_links_within_the_folder_are_followed_as_kubernetes_mounts_them(tmp_path: Path):
    mount = tmp_path / "models" / "copy"
    shutil.copytree(COPY, mount / "..2026_01_01")
    (mount / "..data").symlink_to("..2026_01_01")
    for name in os.listdir(mount / "..data"):
        (mount / name).symlink_to(f"..data/{name}")
    (tmp_path / "configured").symlink_to(tmp_path / "models")  # the operator's own word
    (place,) = find_bundles([str(tmp_path / "configured")])
    assert read_bundle(place).manifest.name == "copy"


def test_a_changed_folder_that_links_out_is_refused_by_a_running_server(
    target: httpx.Client, folder: Path, tmp_path: Path
):
    shutil.copytree(COPY, tmp_path / "elsewhere")
    link = folder / "models" / "other"
    link.symlink_to(tmp_path / "elsewhere")
    try:
        answer = target.post("/v1/models/reload")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert "leads to" in answer.json()["detail"]
        loaded = target.post("/v2/repository/models/other/load")
        assert loaded.status_code in (400, 404)
    finally:
        link.unlink()
    assert target.post("/v1/models/reload").status_code == 200
