from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from safetensors.numpy import load_file, save_file
from tritonclient.grpc import model_config_pb2

from export.bundle import (
    INITIAL_STATE,
    STEP_ONNX,
    Bundle,
    BundleError,
    Manifest,
    file_entry,
    read_bundle,
    write_manifest,
)
from export.command import main
from export.manifest import decode_manifest
from export.triton import MAX_BATCH, config, write_repository

X, Y, N, M, R, W, H = 6, 4, 7, 5, 2, 3, 8  # of the small bundle
SCHEMA: Any = model_config_pb2  # its messages are made as it is imported
FLOAT = SCHEMA.TYPE_FP32
ARRAYS = {SCHEMA.TYPE_FP32: "<f4", SCHEMA.TYPE_INT64: "<i8"}


def config_of(folder: Path) -> Any:
    """config.pbtxt, read by the schema that Triton's own clients ship."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), SCHEMA.ModelConfig())


def with_initial_state(folder: Path, **arrays: Any) -> Bundle:
    """The bundle, begun from other tensors."""
    state = {**load_file(folder / INITIAL_STATE), **arrays}
    save_file(state, folder / INITIAL_STATE)
    manifest = read_manifest(folder)
    entry = file_entry((folder / INITIAL_STATE).read_bytes())
    files = {**manifest.files, INITIAL_STATE: entry}
    write_manifest(folder, msgspec.structs.replace(manifest, files=files))
    return read_bundle(folder)


def read_manifest(folder: Path) -> Manifest:
    return decode_manifest((folder / "manifest.json").read_bytes())


class SequenceBatcher:
    """What Triton does with a sequence, from its folder alone: a state by name, begun from
    `initial_state` where a request says start, gathered and scattered around one call."""

    def __init__(self, folder: Path) -> None:
        self.config = config_of(folder)
        versions = [path for path in folder.iterdir() if path.name.isdigit()]
        assert [path.name[0] != "0" for path in versions] == [True]
        self.session = onnxruntime.InferenceSession(
            (versions[0] / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"]
        )
        self.initial = {
            state.input_name: self._start(folder, state)
            for state in self.config.sequence_batching.state
        }
        self.sequences: dict[int, dict[str, np.ndarray]] = {}

    def _start(self, folder: Path, state: Any) -> np.ndarray:
        (initial,) = state.initial_state
        assert initial.name and initial.data_type == state.data_type
        assert list(initial.dims) == list(state.dims)
        dtype, dims = ARRAYS[initial.data_type], tuple(initial.dims)
        if initial.WhichOneof("state_data") == "zero_data":
            return np.zeros(dims, dtype)
        data = (folder / "initial_state" / initial.data_file).read_bytes()
        return np.frombuffer(data, dtype).reshape(dims)

    def infer(self, rows: dict[int, np.ndarray], start: frozenset[int] = frozenset()) -> np.ndarray:
        """One batch: a row of each sequence. Returns the outputs (B, Y) in the rows' order."""
        for sequence in start:
            self.sequences[sequence] = self.initial
        feed = {
            name: np.stack([self.sequences[sequence][name] for sequence in rows])
            for name in self.initial
        }
        (given,), (wanted,) = self.config.input, self.config.output
        feed[given.name] = np.stack(list(rows.values()))
        states = self.config.sequence_batching.state
        names = [wanted.name, *(state.output_name for state in states)]
        answer: Any = self.session.run(names, feed)
        y, *following = answer
        for at, sequence in enumerate(rows):
            self.sequences[sequence] = {
                state.input_name: array[at] for state, array in zip(states, following, strict=True)
            }
        return np.asarray(y)


def own_steps(bundle: Bundle, rows: np.ndarray) -> np.ndarray:
    """The outputs of one session, a row at a time, from the bundle."""
    session = onnxruntime.InferenceSession(
        bundle.read(STEP_ONNX), providers=["CPUExecutionProvider"]
    )
    state = [array[None] for array in bundle.initial_state().values()]
    names = [tensor.name for tensor in bundle.manifest.state]
    outputs: list[Any] = []
    for row in rows:
        feed = {"x": row[None], **dict(zip(names, state, strict=True))}
        answer: Any = session.run(["y", *(f"{name}_next" for name in names)], feed)
        y, *state = answer
        outputs.append(y[0])
    return np.stack(outputs)


def test_the_config_is_triton_s_own_message_with_the_manifest_s_names_and_dims(
    small_bundle: Path, tmp_path: Path
) -> None:
    folder = write_repository(read_bundle(small_bundle), tmp_path)
    told = config_of(folder)
    assert folder == tmp_path / "small"
    assert (told.name, told.backend, told.max_batch_size) == (
        "small", "onnxruntime", MAX_BATCH,
    )  # fmt: skip
    assert [(t.name, t.data_type, list(t.dims)) for t in told.input] == [("x", FLOAT, [X])]
    assert [(t.name, t.data_type, list(t.dims)) for t in told.output] == [("y", FLOAT, [Y])]
    assert [
        (state.input_name, state.output_name, state.data_type, list(state.dims))
        for state in told.sequence_batching.state
    ] == [
        (name, f"{name}_next", FLOAT, dims)
        for name, dims in [
            ("memory", [N, M]), ("read_weights", [R, N]), ("write_weights", [W, N]),
            ("reads", [R, M]), ("controller_hidden", [H]), ("controller_cell", [H]),
        ]
    ]  # fmt: skip


def test_the_batcher_takes_the_oldest_and_sends_no_control_the_step_has_no_input_for(
    small_bundle: Path, tmp_path: Path
) -> None:
    batching = config_of(write_repository(read_bundle(small_bundle), tmp_path)).sequence_batching
    assert batching.WhichOneof("strategy_choice") == "oldest"
    assert batching.oldest.max_candidate_sequences >= MAX_BATCH
    assert list(batching.control_input) == []
    assert batching.max_sequence_idle_microseconds == 600_000_000


def test_every_input_and_output_of_the_graph_is_named_once_in_the_config(
    small_bundle: Path, tmp_path: Path
) -> None:
    batcher = SequenceBatcher(write_repository(read_bundle(small_bundle), tmp_path))
    states = batcher.config.sequence_batching.state
    told_in = [("x", [X]), *((state.input_name, list(state.dims)) for state in states)]
    told_out = [("y", [Y]), *((state.output_name, list(state.dims)) for state in states)]
    graph = batcher.session
    assert sorted(told_in) == sorted((t.name, t.shape[1:]) for t in graph.get_inputs())
    assert sorted(told_out) == sorted((t.name, t.shape[1:]) for t in graph.get_outputs())


def test_sequences_run_from_the_folder_alone_answer_as_sessions_of_the_bundle(
    bundle: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(7)
    memory = random.standard_normal((N, M)).astype(np.float32)
    source = with_initial_state(bundle, memory=memory, reads=np.zeros((R, M), np.float32))
    batcher = SequenceBatcher(write_repository(source, tmp_path / "repository"))
    rows = {sequence: random.random((9, X), np.float32) for sequence in (11, 12, 13)}
    wanted = {sequence: own_steps(source, given) for sequence, given in rows.items()}
    for at in range(9):
        start = frozenset(rows) if at == 0 else frozenset()
        outputs = batcher.infer({s: given[at] for s, given in rows.items()}, start)
        for output, sequence in zip(outputs, rows, strict=True):
            np.testing.assert_allclose(output, wanted[sequence][at], atol=1e-5, rtol=0)
    again = batcher.infer({12: rows[12][0]}, start=frozenset({12}))
    np.testing.assert_allclose(again[0], wanted[12][0], atol=1e-5, rtol=0)


def test_a_tensor_of_zeros_needs_no_file_and_another_is_written_byte_for_byte(
    bundle: Path, tmp_path: Path
) -> None:
    memory = np.arange(N * M, dtype=np.float32).reshape(N, M)
    zeros = {
        name: np.zeros_like(array)
        for name, array in load_file(bundle / INITIAL_STATE).items()
        if name != "memory"
    }
    folder = write_repository(with_initial_state(bundle, memory=memory, **zeros), tmp_path / "out")
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert set(found) == {"config.pbtxt", "initial_state/memory", "1/model.onnx"}
    assert found["initial_state/memory"] == memory.tobytes()
    assert found["1/model.onnx"] == (bundle / STEP_ONNX).read_bytes()
    states = config_of(folder).sequence_batching.state
    kinds = {s.input_name: s.initial_state[0].WhichOneof("state_data") for s in states}
    assert kinds.pop("memory") == "data_file"
    assert set(kinds.values()) == {"zero_data"}


def test_a_whole_number_s_state_is_told_as_one(small_bundle: Path, tmp_path: Path) -> None:
    source = read_bundle(small_bundle)
    counter = msgspec.structs.replace(source.manifest.state[0], dtype="int64")
    manifest = msgspec.structs.replace(source.manifest, state=(counter, *source.manifest.state[1:]))
    initial = source.initial_state() | {"memory": np.zeros((N, M), np.int64)}
    text = config(msgspec.structs.replace(source, manifest=manifest), initial)
    parsed = text_format.Parse(text, SCHEMA.ModelConfig())
    state = parsed.sequence_batching.state[0]
    assert (state.data_type, state.initial_state[0].data_type) == (
        SCHEMA.TYPE_INT64, SCHEMA.TYPE_INT64,
    )  # fmt: skip


@pytest.mark.parametrize("version", ["1.2", "01", "0", "v3", "latest"])
def test_a_version_that_triton_would_overlook_is_refused(
    bundle: Path, tmp_path: Path, version: str
) -> None:
    write_manifest(bundle, msgspec.structs.replace(read_manifest(bundle), version=version))
    with pytest.raises(BundleError, match=f"whole numbers from 1.*'{version}'"):
        write_repository(read_bundle(bundle), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_state_without_axes_is_refused_since_triton_holds_none(
    small_bundle: Path, tmp_path: Path
) -> None:
    source = read_bundle(small_bundle)
    flat = msgspec.structs.replace(source.manifest.state[0], name="steps", dims=())
    manifest = msgspec.structs.replace(source.manifest, state=(*source.manifest.state, flat))
    with pytest.raises(BundleError, match="'steps' has none"):
        write_repository(msgspec.structs.replace(source, manifest=manifest), tmp_path)


def test_a_model_s_folder_is_replaced_whole_and_the_same_bundle_gives_the_same_bytes(
    small_bundle: Path, tmp_path: Path
) -> None:
    source = read_bundle(small_bundle)
    first = write_repository(source, tmp_path)
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    (first / "2").mkdir()
    (first / "2" / "model.onnx").touch()
    (tmp_path / "other").mkdir()
    assert write_repository(source, tmp_path) == first
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"small", "other"}


def test_the_command_needs_neither_a_card_nor_torch(small_bundle: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'google.protobuf'): sys.modules[name] = None\n"
        "from export.command import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = [str(small_bundle), "--triton", str(tmp_path), "--kserve", "pvc://models/zoo"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.splitlines()) == {
        str(path) for path in tmp_path.rglob("*") if path.is_file()
    }
    assert {path.name for path in tmp_path.iterdir()} == {"small", "small.kserve.yaml"}


def test_an_entry_s_bundle_is_found_beside_its_card(small_bundle: Path, tmp_path: Path) -> None:
    entry = small_bundle.parent  # of a folder `bundle`
    assert main([str(entry), "--triton", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"small"}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["{bundle}", "--kserve", "s3://models/zoo"], 2, "--kserve goes with --triton"),
        (["{bundle}", "--triton", "{out}", "--check"], 2, "takes the bundle as it is"),
        (["{bundle}", "--triton", "{out}", "--kserve", "models"], 1, "s3://bucket/models"),
        (["{bundle}/nothing", "--triton", "{out}"], 1, "should be a bundle or an entry with one"),
    ],
)
def test_what_cannot_be_taken_to_triton_is_told_and_writes_nothing(
    small_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    given = [a.format(bundle=small_bundle, out=tmp_path / "out") for a in arguments]
    try:
        got = main(given)
    except SystemExit as ended:
        got = ended.code
    assert got == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
