"""The trained networks that come with the package, as a server serves them by default."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from service.settings import ZOO
from tests.service.serving import Server, served

COPIES = sorted(folder.name for folder in Path(ZOO).glob("copy*") if (folder / "bundle").is_dir())
ROWS = 30  # ten more than any was trained on


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with served(tmp_path_factory.mktemp("zoo"), Path(ZOO)) as running:
        yield running


def test_two_families_copy() -> None:
    assert {"copy", "copy-dnc"} <= set(COPIES)


@pytest.mark.parametrize("name", COPIES)
def test_a_session_copies_what_it_is_shown_and_so_does_its_fork(server: Server, name: str) -> None:
    pattern = np.random.default_rng(1).integers(0, 2, (ROWS, 8))
    shown = np.pad(pattern, ((0, 1), (0, 1)))
    shown[-1, 8] = 1  # the delimiter
    silence = np.zeros((ROWS, 9)).tolist()
    with server.client() as client:
        made = client.post(f"/v1/models/{name}/sessions", json={})
        assert made.status_code == 201, made.text
        path = f"/v1/sessions/{made.json()['id']}"
        told = client.post(f"{path}/steps", json={"inputs": shown.tolist()})
        assert told.status_code == 200 and told.json()["step"] == ROWS + 1
        fork = f"/v1/sessions/{client.post(f'{path}/fork', json={}).json()['id']}"
        for session in (path, fork):
            answer = client.post(f"{session}/steps", json={"inputs": silence}).json()["outputs"]
            assert np.array(answer).round().astype(int).tolist() == pattern.tolist()
            assert client.delete(session).status_code == 204


def test_of_a_dnc_it_is_shown_which_slots_are_used_and_in_which_order_they_were_written(
    server: Server,
) -> None:
    pattern = np.pad(np.random.default_rng(2).integers(0, 2, (6, 8)), ((0, 0), (0, 1)))
    with server.client() as client:
        path = f"/v1/sessions/{client.post('/v1/models/copy-dnc/sessions', json={}).json()['id']}"
        traced = client.post(f"{path}/steps", json={"inputs": pattern.tolist(), "trace": True})
        state = {
            tensor["role"]: np.array(tensor["data"]).reshape(tensor["dims"])
            for tensor in client.get(f"{path}/memory").json()["state"]
        }
    assert traced.status_code == 200, traced.text
    written = state["write_weights"][0]
    # The usage of a step is what the step before it has written: five rows.
    assert (state["usage"] > 0.5).sum() == 5 and written.max() > 0.9
    last = int(written.argmax())
    assert state["usage"][last] < 0.1 and state["link"][last].max() > 0.9
