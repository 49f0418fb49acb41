from pathlib import Path

import httpx

from export.bundle import read_bundle


def test_every_loaded_model_is_listed_with_what_runs_it(client: httpx.Client):
    models = client.get("/v1/models").json()["models"]
    assert [(m["name"], m["version"]) for m in models] == [
        ("copy", "1"),
        ("small", "1"),
        ("small", "2"),
    ]
    for model in models:
        assert (model["family"], model["task"], model["runtime"]) == ("ntm", "copy", "onnx")
        assert model["device"] in ("cpu", "cuda")
    assert [(m["input_dims"], m["output_dims"]) for m in models] == [
        ([9], [8]),
        ([7], [5]),
        ([7], [5]),
    ]


def test_a_model_tells_its_whole_manifest(client: httpx.Client, models: Path):
    bundle = read_bundle(models / "copy")
    detail = client.get("/v1/models/copy").json()
    assert detail["input"]["dims"] == [9] and detail["output"]["dims"] == [8]
    assert detail["state"][0] == {
        "name": "memory",
        "dims": [128, 20],
        "role": "memory",
        "dtype": "float32",
        "update": "dense",
        "rows": 0,
    }
    assert len(detail["state"]) == len(bundle.manifest.state)
    assert detail["card"] == bundle.manifest.card
    assert detail["fingerprint"] == bundle.fingerprint
    assert detail["batch_multiple"] >= 1 and detail["max_batch"] == 32


def test_a_model_is_told_in_the_newest_or_the_named_version(client: httpx.Client):
    assert client.get("/v1/models/small").json()["version"] == "2"
    assert client.get("/v1/models/small?version=1").json()["version"] == "1"


def test_the_version_told_is_the_one_that_a_session_gets(client: httpx.Client):
    told = client.get("/v1/models/small").json()["version"]
    assert client.post("/v1/models/small/sessions").json()["version"] == told
