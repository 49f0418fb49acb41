"""Nothing that comes in, as a model, a state or a body, is ever unpickled or run."""

import ast
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from msgspec.structs import replace

from export.bundle import (
    INITIAL_STATE,
    STEP_ONNX,
    STEP_TORCHSCRIPT,
    BundleError,
    file_entry,
    read_bundle,
    write_manifest,
)
from service.engine.metrics import EngineMetrics
from service.engine.models import load_hosts
from service.engine.runtime import BackendError
from service.settings import ZOO, Settings
from tests.service.serving import environ

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = sorted(
    path for name in ("service", "export", "model") for path in (ROOT / name).rglob("*.py")
)
NEVER_IMPORTED = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal"}
NEVER_IMPORTED |= {"shelve", "yaml", "pandas"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__"}


class Live:
    """What makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def pickles(marker: Path) -> Iterator[bytes]:
    """The same attack as a plain pickle and as the archive that torch.save writes."""
    yield pickle.dumps(Live(marker))
    saved = marker.with_suffix(".saved")
    torch.save({"memory": Live(marker)}, saved)
    yield saved.read_bytes()


def test_the_attack_is_a_live_one(tmp_path: Path):
    first, saved = tmp_path / "first", tmp_path / "saved"
    pickle.loads(next(pickles(first)))
    torch.save(Live(saved), tmp_path / "file")
    torch.load(tmp_path / "file", weights_only=False)
    assert first.exists() and saved.exists()


def test_no_module_can_unpickle_or_run_what_it_reads():
    found = {path: list(dangers(ast.parse(path.read_text()))) for path in MODULES}
    assert {path: what for path, what in found.items() if what} == {}
    assert len(found) > 100


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from yaml import load", "import joblib as j", "eval('1')",
        "torch.load(f)", "torch.load(f, weights_only=False)", "torch.load(f, weights_only=flag)",
        "np.load(f, allow_pickle=True)", "builtins.exec('1')", "importlib.import_module(f'{name}')",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(source: str):
    assert list(dangers(ast.parse(source)))


def dangers(tree: ast.AST) -> Iterator[str]:
    """What in a module could turn data into a program."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in NEVER_IMPORTED)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
            NEVER_IMPORTED
        ):
            yield f"{node.module}"
        elif isinstance(node, ast.Call):
            yield from _call(node)


def _call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    bare = isinstance(node.func, ast.Name) or name.startswith("builtins.")
    if bare and name.removeprefix("builtins.") in NEVER_CALLED:
        yield name
    if name == "torch.load" and said.get("weights_only") != "True":
        yield ast.unparse(node)
    if "allow_pickle" in said and said["allow_pickle"] != "False":
        yield ast.unparse(node)
    if name.endswith("import_module") and any(
        isinstance(part, ast.JoinedStr | ast.BinOp) for part in node.args
    ):
        yield ast.unparse(node)


def test_a_pickle_as_a_state_or_a_body_is_refused_and_not_run(
    target: httpx.Client, session: str, tmp_path: Path
):
    marker = tmp_path / "marker"
    for data in pickles(marker):
        for kind in ("application/vnd.safetensors", "application/octet-stream"):
            answer = target.put(f"{session}/state", content=data, headers={"content-type": kind})
            assert answer.status_code in (400, 415), answer.text
        for path in (f"{session}/steps", "/v1/models/copy/sessions", "/v1/models/copy/predict"):
            for kind in ("application/json", "application/msgpack", "application/x-python-pickle"):
                answer = target.post(path, content=data, headers={"content-type": kind})
                assert answer.status_code in (400, 415), answer.text
        for length in ("0", str(len(data))):
            headers = {"inference-header-content-length": length}
            answer = target.post("/v2/models/copy/infer", content=data, headers=headers)
            assert answer.status_code in (400, 200)  # 0: any bytes are rows, and only numbers
    assert target.get(session).json()["revision"] == 1
    assert not marker.exists()


def bundle_with(folder: Path, **files: bytes) -> Path:
    """The copy model's bundle with other files, whose hashes are right."""
    shutil.copytree(Path(ZOO) / "copy" / "bundle", folder)
    manifest = read_bundle(folder).manifest
    entries = dict(manifest.files)
    for name, data in files.items():
        (folder / name).write_bytes(data)
        entries[name] = file_entry(data)
    write_manifest(folder, replace(manifest, files=entries))
    return folder


@pytest.mark.parametrize("name", [STEP_ONNX, INITIAL_STATE])
def test_a_pickle_as_a_model_is_refused_and_not_run(tmp_path: Path, name: str):
    marker = tmp_path / "marker"
    for number, data in enumerate(pickles(marker)):
        place = bundle_with(tmp_path / f"{number}", **{name: data})
        with pytest.raises((BundleError, BackendError)):
            load_hosts(Settings(models=(str(place),), device="cpu"), EngineMetrics())
    assert not marker.exists()


LOADS = """
import sys
from service.engine.metrics import EngineMetrics
from service.engine.models import load_hosts
from service.engine.runtime import BackendError
from service.settings import Settings
for runtime in ("torchscript", "auto"):
    try:
        hosts = load_hosts(Settings(models=(sys.argv[1],), device="cpu", runtime=runtime),
                           EngineMetrics())
        print(runtime, "runs", hosts[0].runtime.backend.name)
    except BackendError as error:
        print(runtime, "refused:", error)
print("torch" in sys.modules)
"""


def test_a_program_in_a_bundle_is_not_opened_unless_code_is_trusted(tmp_path: Path):
    marker = tmp_path / "marker"
    *_, archive = pickles(marker)
    place = bundle_with(tmp_path / "bundle", **{STEP_TORCHSCRIPT: archive})
    done = subprocess.run(
        [sys.executable, "-c", LOADS, place], env=environ(), capture_output=True, text=True
    )
    first, second, torch_came = done.stdout.splitlines()
    assert first.startswith("torchscript refused:") and "NTM_TRUST_CODE=1" in first
    assert (second, torch_came) == ("auto runs onnx", "False")
    assert not marker.exists()


def test_a_card_or_a_form_is_never_more_than_data(tmp_path: Path, target: httpx.Client):
    shown = target.get("/v1/models/copy").json()
    odd = {"__reduce__": "os.system", "!!python/object": "os.system", "$ref": "file:///etc/passwd"}
    place = bundle_with(tmp_path / "bundle")
    manifest = read_bundle(place).manifest
    write_manifest(place, replace(manifest, card=odd))
    assert read_bundle(place).manifest.card == odd
    assert json.dumps(shown)  # and the server tells its own as JSON
