"""A step compiled for this machine: built once here, held to what every runtime is held to.

The tests of test_runtime.py that are imported run on it by the fixture `runtime`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from export.bundle import Bundle, read_bundle
from service import compile_command
from service.engine import compiled
from service.engine.aot import Aot
from service.engine.compiled import CARD, STEP, NotCompiled, find, folder_of, read_card
from service.engine.metrics import EngineMetrics
from service.engine.models import load_host, pick_backend
from service.engine.onnx import OnnxCpu
from service.engine.runtime import BackendError, Runtime
from service.settings import Settings
from tests.bundles import make_entry
from tests.service.engine.conftest import SIZES, MakeRuntime
from tests.service.engine.test_runtime import (
    test_a_freed_slot_leaks_nothing_to_its_next_holder as _leaks_nothing,
)
from tests.service.engine.test_runtime import (
    test_a_replayed_state_equals_the_stepped_one as _replayed,
)
from tests.service.engine.test_runtime import (
    test_a_row_alone_equals_the_row_in_every_bucket_and_position as _alone,
)
from tests.service.engine.test_runtime import (
    test_a_step_leaves_its_source_slots_as_they_were as _sources,
)
from tests.service.engine.test_runtime import (
    test_padding_is_written_nowhere as _padding,
)
from tests.service.engine.test_runtime import (
    test_several_rows_a_call_equal_one_row_a_call as _several_rows,
)
from tests.service.engine.test_runtime import (
    test_watched_tensors_are_the_states_after_each_row as _watched,
)
from tests.service.engine.test_runtime import (
    test_what_a_step_returns_is_not_overwritten_by_the_next as _kept,
)

HELD_TO = (_alone, _several_rows, _padding, _sources, _leaks_nothing, _watched, _replayed, _kept)

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None, reason="a step is compiled by g++, which is not here"
)


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_entry(tmp_path_factory.mktemp("entries") / "copy", **SIZES)


@pytest.fixture(scope="module")
def made(entry: Path) -> Bundle:
    return read_bundle(entry / "bundle")


@pytest.fixture(scope="module")
def cache(entry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache with the entry's step, compiled once: the better part of a minute."""
    folder = tmp_path_factory.mktemp("cache")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NTM_CACHE", str(folder))
        assert compile_command.main([str(entry)]) == 0
    yield folder


@pytest.fixture(scope="module")
def runtime(cache: Path, made: Bundle, make_runtime: MakeRuntime) -> Runtime:
    path = find(cache, made.fingerprint)
    return make_runtime(Aot(path, made.manifest.state, 1))


@pytest.fixture
def copied(cache: Path, tmp_path: Path) -> Path:
    """The cache, to do harm to."""
    return shutil.copytree(cache, tmp_path / "cache")


@pytest.mark.parametrize("test", HELD_TO, ids=lambda test: test.__name__)
def test_what_holds_for_every_runtime_holds_for_it(test, runtime: Runtime) -> None:
    test(runtime)


def test_each_step_is_eager_torchs_over_a_thousand_and_the_drift_is_told(
    cache: Path, made: Bundle
) -> None:
    card = read_card(folder_of(cache, made.fingerprint))

    assert card.rows == 1000
    assert 0 < card.parity <= 1e-5
    assert card.parity <= card.drift < 0.1
    assert (card.bundle, card.name, card.version) == (made.fingerprint, "copy", "1")


def test_auto_takes_it_and_says_so(cache: Path, made: Bundle) -> None:
    wanted = Settings(device="cpu", cache=str(cache), slots=5, max_batch=4)

    backend, reason = pick_backend(made, wanted)
    host = load_host(made, wanted, EngineMetrics())

    assert isinstance(backend, Aot) and backend.name == "aot"
    assert reason == host.runtime.reason == "compiled for this machine"


def test_onnx_that_is_asked_for_by_name_is_taken_all_the_same(cache: Path, made: Bundle) -> None:
    backend, reason = pick_backend(made, Settings(device="cpu", runtime="onnx", cache=str(cache)))

    assert isinstance(backend, OnnxCpu)
    assert reason == "NTM_RUNTIME=onnx"


def test_what_was_compiled_of_another_bundle_is_not_taken(cache: Path, made: Bundle) -> None:
    other = msgspec.structs.replace(made, fingerprint="0" * 64)

    backend, reason = pick_backend(other, Settings(device="cpu", cache=str(cache)))

    assert isinstance(backend, OnnxCpu)
    assert reason == "no step of this bundle is compiled for this machine and this torch"
    with pytest.raises(BackendError, match="NTM_RUNTIME=aot: no step .* ntm compile builds one"):
        pick_backend(other, Settings(runtime="aot", device="cpu", cache=str(cache)))


@pytest.mark.parametrize("name", ["", "aot", STEP, CARD])
def test_what_others_could_have_written_is_not_loaded(
    copied: Path, made: Bundle, name: str
) -> None:
    folder = folder_of(copied, made.fingerprint)
    path = {"": copied, "aot": folder.parent}.get(name, folder / name)
    path.chmod(path.stat().st_mode | 0o002)

    with pytest.raises(NotCompiled, match="writable by nobody else"):
        find(copied, made.fingerprint)


def test_a_link_to_a_step_elsewhere_is_not_followed(copied: Path, made: Bundle) -> None:
    step = folder_of(copied, made.fingerprint) / STEP
    step.rename(copied / "elsewhere")
    step.symlink_to(copied / "elsewhere")

    with pytest.raises(NotCompiled, match="is a link"):
        find(copied, made.fingerprint)


def test_a_changed_step_is_not_loaded(copied: Path, made: Bundle) -> None:
    step = folder_of(copied, made.fingerprint) / STEP
    data = bytearray(step.read_bytes())
    data[100] ^= 1
    step.write_bytes(data)

    with pytest.raises(NotCompiled, match="is not what was compiled"):
        find(copied, made.fingerprint)


def test_another_torch_or_processor_finds_nothing(
    cache: Path, made: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(cache, made.fingerprint)
    for name, value in (("torch_version", "1.2.3"), ("_instructions", ("Linux", "m68k"))):
        with monkeypatch.context() as other:
            other.setattr(compiled, name, lambda value=value: value)
            with pytest.raises(NotCompiled, match="this machine and this torch"):
                find(cache, made.fingerprint)


def test_a_second_compile_builds_nothing(
    cache: Path, entry: Path, made: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NTM_CACHE", str(cache))
    monkeypatch.setenv("CXX", "/nonexistent/g++")

    assert compile_command.main([str(entry)]) == 0


def test_without_a_compiler_it_says_what_is_needed(
    entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "/nonexistent/g++")

    assert compile_command.main([str(entry)]) == 1

    told = capsys.readouterr().err
    assert "a C++ compiler is needed, and there is no '/nonexistent/g++' here" in told
    assert not (tmp_path / "cache").exists()


def test_weights_that_are_not_the_bundles_are_refused(
    entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NTM_CACHE", str(tmp_path / "cache"))
    other = make_entry(tmp_path / "other", seed=2, bundle=False, **SIZES)

    assert compile_command.main([str(other), "--bundle", str(entry / "bundle")]) == 1

    assert "step.onnx" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
