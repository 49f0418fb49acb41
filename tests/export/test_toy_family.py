"""A family that is added is trained, exported, served and explained by what is there already."""

import ast
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
import torch

import service
from export.command import export
from model.families import FAMILIES, load
from model.recipe import Recipe
from model.run import Run
from model.tasks import TASKS
from tests.export.toy import Echo, Ring
from tests.service.serving import Server, served

SERVICE = Path(service.__file__).parent
NETWORK = {"input_size": 3, "output_size": 3, "slots": 5, "width": 4}


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """The family and the task where those are listed, and a zoo entry trained and exported."""
    folder = tmp_path_factory.mktemp("ring")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "ring", f"{Ring.__module__}:Ring")
        patch.setitem(TASKS, "echo", Echo)
        recipe: dict[str, Any] = {"steps": 300, "learning_rate": 0.03, "compile": "off"}
        small: dict[str, Any] = {"eval_every": 300, "test_sequences": 20, "test_within": 0}
        run = Run(
            Recipe(
                task="echo", family="ring", network=NETWORK, name="echo", out=str(folder),
                **recipe, **small,
            )
        )  # fmt: skip
        assert run.train()
        run.finish("of a test")
        export(folder, folder / "bundle")
        yield folder


@pytest.fixture(scope="module")
def server(entry: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with served(tmp_path_factory.mktemp("server"), entry / "bundle") as running:
        yield running


def bits(rows: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 2, (rows, 3)).astype(np.float32)


def test_a_family_that_is_added_is_served_as_the_network_runs(entry: Path, server: Server):
    network, card = load(entry)
    rows = bits(12)
    with torch.no_grad():
        wanted = torch.sigmoid(cast(Ring, network)(torch.tensor(rows)[None]))[0].numpy()
    with server.client() as client:
        told = client.get("/v1/models/echo").json()
        path = f"/v1/sessions/{client.post('/v1/models/echo/sessions', json={}).json()['id']}"
        outputs = [
            client.post(f"{path}/steps", json={"inputs": rows[at : at + 4].tolist()}).json()
            for at in (0, 4, 8)
        ]
    assert (told["family"], told["task"], card.family) == ("ring", "echo", "ring")
    got = np.concatenate([one["outputs"] for one in outputs])
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert (got[2:].round() == rows[:-2]).all(), "it has learned to echo"


def begun(client: httpx.Client) -> str:
    path = f"/v1/sessions/{client.post('/v1/models/echo/sessions', json={}).json()['id']}"
    client.post(f"{path}/steps", json={"inputs": bits(7).tolist()}).raise_for_status()
    return path


def test_it_is_traced_explained_forked_and_rewound_by_the_roles_of_its_tensors(server: Server):
    with server.client() as client:
        path = begun(client)
        traced = client.post(f"{path}/steps", json={"inputs": [[1, 0, 1]], "trace": True}).json()
        assert [one["role"] for one in traced["trace"]] == ["write_weights"]
        rows = client.get(f"{path}/explain").json()["rows"]
        assert [row["heads"][0]["slot"] for row in rows] == [0, 1, 2, 3, 4, 0, 1, 2]
        assert [row["heads"][0]["lasts"] for row in rows][:2] == [5, 5], "it goes round"
        assert all(row["heads"][0]["add"] > 0 for row in rows)
        fork = client.post(f"{path}/fork", json={"step": 4}).json()
        client.post(f"{path}/restore", json={"step": 4}).raise_for_status()
        ours = client.get(f"{path}/memory").json()["state"]
        theirs = client.get(f"/v1/sessions/{fork['id']}/memory").json()["state"]
    assert ours == theirs and fork["step"] == 4


def test_no_module_of_the_service_names_a_family():
    families = set(FAMILIES) - {"ntm"}  # which is the project's name, too
    for path in SERVICE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value.lower() not in families, f"{path}:{node.lineno}"


def test_no_module_of_the_explorer_but_its_demos_names_a_family():
    for path in (SERVICE / "explorer" / "js").glob("*.js"):
        if path.name != "demos.js":
            words = set(path.read_text().replace('"', " ").replace("'", " ").split())
            assert not words & (set(FAMILIES) - {"ntm"}), path
