"""Which bundles are loaded, and what runs them."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
import torch

from export.bundle import STEP_TORCHSCRIPT, Bundle, BundleError, read_bundle, write_manifest
from service.engine.metrics import EngineMetrics
from service.engine.models import load_host, load_hosts, pick_backend, slots_of
from service.engine.onnx import OnnxCpu
from service.engine.runtime import BackendError
from service.engine.torchscript import TorchScript
from service.settings import Settings
from tests.bundles import make_bundle


def settings(*models: Path, **others: object) -> Settings:
    small = {"device": "cpu", "slots": 5, "max_batch": 3, "max_queue": 7, **others}
    return msgspec.convert({"models": [str(folder) for folder in models], **small}, Settings)


def copy_as(bundle: Bundle, folder: Path, version: str) -> Path:
    """The same model under another version."""
    shutil.copytree(bundle.folder, folder)
    write_manifest(folder, msgspec.structs.replace(bundle.manifest, version=version))
    return folder


def without_torchscript(bundle: Bundle, folder: Path) -> Bundle:
    shutil.copytree(bundle.folder, folder)
    (folder / STEP_TORCHSCRIPT).unlink()
    fields = {
        name: {file: told for file, told in value.items() if file != STEP_TORCHSCRIPT}
        for name, value in msgspec.structs.asdict(bundle.manifest).items()
        if isinstance(value, dict)
    }
    write_manifest(folder, msgspec.structs.replace(bundle.manifest, **fields))
    return read_bundle(folder)


def test_every_bundle_under_the_folders_is_loaded_with_the_settings_sizes(
    bundle: Bundle, tmp_path: Path
) -> None:
    copy_as(bundle, tmp_path / "a" / "two", "2")
    copy_as(bundle, tmp_path / "b" / "copy" / "bundle", "3")

    hosts = load_hosts(settings(tmp_path / "a", tmp_path / "b"), EngineMetrics())

    assert [(host.manifest.name, host.manifest.version) for host in hosts] == [
        ("copy", "2"),
        ("copy", "3"),
    ]
    info = hosts[0].info
    assert (info.slots, info.max_batch, info.runtime, info.device) == (5, 3, "onnx", "cpu")
    assert info.fingerprint != hosts[1].info.fingerprint
    assert hosts[0].scheduler.max_queue == 7
    assert hosts[0].runtime.multiple == info.batch_multiple


def test_two_bundles_of_one_name_and_version_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    for name in ("a", "b"):
        copy_as(bundle, tmp_path / name, "1")

    with pytest.raises(ValueError, match=r"b and .*a are both \('copy', '1'\)"):
        load_hosts(settings(tmp_path), EngineMetrics())


def test_a_damaged_bundle_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    folder = copy_as(bundle, tmp_path / "a", "1")
    with (folder / "step.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\xff")

    with pytest.raises(BundleError, match=r"step\.onnx should have sha256"):
        load_hosts(settings(tmp_path), EngineMetrics())


def test_onnx_on_the_cpu_is_what_runs_by_default(bundle: Bundle) -> None:
    backend, reason = pick_backend(bundle, Settings(device="cpu"))

    assert isinstance(backend, OnnxCpu)
    assert reason == "no step of this bundle is compiled for this machine and this torch"
    assert (backend.name, backend.device, backend.device_bytes()) == ("onnx", "cpu", None)


def test_torchscript_runs_only_where_code_is_trusted(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match="needs NTM_TRUST_CODE=1"):
        pick_backend(bundle, Settings(runtime="torchscript", device="cpu"))

    backend, _ = pick_backend(
        bundle, Settings(runtime="torchscript", device="cpu", trust_code=True)
    )
    assert isinstance(backend, TorchScript)
    assert (backend.name, backend.device, backend.device_bytes()) == ("torchscript", "cpu", None)


def test_a_bundle_without_torchscript_says_how_to_make_one(bundle: Bundle, tmp_path: Path) -> None:
    plain = without_torchscript(bundle, tmp_path / "plain")

    with pytest.raises(BackendError, match="has no step.torchscript.pt: make one with ntm export"):
        pick_backend(plain, Settings(runtime="torchscript", device="cpu", trust_code=True))


def test_a_fused_step_needs_weights_and_a_gpu(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BackendError, match="runs on a GPU"):
        pick_backend(bundle, Settings(runtime="fused", device="cpu"))

    make_bundle(tmp_path / "plain")
    with pytest.raises(BackendError, match=r"has no weights.safetensors: make one with ntm export"):
        pick_backend(read_bundle(tmp_path / "plain"), Settings(runtime="fused", device="cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("runtime", ["onnx", "torchscript", "fused"])
def test_cuda_is_refused_by_name_where_there_is_none(bundle: Bundle, runtime: str) -> None:
    wanted = msgspec.convert({"device": "cuda", "runtime": runtime, "trust_code": True}, Settings)

    with pytest.raises(BackendError, match="CUDA"):
        load_host(bundle, wanted, EngineMetrics())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_auto_is_the_cpu_where_there_is_no_cuda(bundle: Bundle) -> None:
    for runtime in ("auto", "onnx", "torchscript"):
        wanted = msgspec.convert({"runtime": runtime, "trust_code": True}, Settings)
        assert pick_backend(bundle, wanted).backend.device == "cpu"


@pytest.mark.parametrize(
    ("states", "models", "slots"),
    [(0, 2, 5), (8, 2, 4), (9, 2, 4), (100, 2, 5), (1, 2, 3), (8, 1, 5)],
    ids=["no budget", "split", "rounded down", "never above NTM_SLOTS", "at least 3", "one model"],
)
def test_a_budget_of_bytes_is_split_evenly_over_the_models(
    bundle: Bundle, states: int, models: int, slots: int
) -> None:
    slot_bytes = sum(tensor.nbytes for tensor in bundle.manifest.state)
    wanted = settings(bundle.folder, device_state_bytes=states * slot_bytes)

    assert slots_of(bundle, wanted, models) == slots


def test_a_model_gets_as_many_slots_as_its_share_of_the_budget_holds(
    bundle: Bundle, tmp_path: Path
) -> None:
    copy_as(bundle, tmp_path / "a", "1")
    copy_as(bundle, tmp_path / "b", "2")
    slot_bytes = sum(tensor.nbytes for tensor in bundle.manifest.state)

    hosts = load_hosts(settings(tmp_path, device_state_bytes=8 * slot_bytes), EngineMetrics())

    assert [(host.placement.arena.slots, host.runtime.slots) for host in hosts] == [(4, 4), (4, 4)]
    assert sum(host.runtime.arrays[0].nbytes for host in hosts) <= 8 * slot_bytes
