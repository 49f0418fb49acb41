"""From bundles in folders to hosts that run them."""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

from export.bundle import STEP_ONNX, STEP_TORCHSCRIPT, WEIGHTS, Bundle, read_bundle
from model.rows import is_sparse
from service.engine.arena import LEAST_SLOTS, Arena
from service.engine.compiled import NotCompiled, cache_folder, find
from service.engine.host import Host
from service.engine.metrics import EngineMetrics
from service.engine.runtime import Backend, BackendError, Runtime
from service.engine.scheduler import Scheduler
from service.folders import find_bundles
from service.settings import Settings

log = logging.getLogger("ntm.engine")


def load_hosts(settings: Settings, metrics: EngineMetrics) -> list[Host]:
    """Every bundle under the configured folders, warmed and ready.

    Raises BundleError or BackendError for one that cannot be served, ValueError for two of the
    same name and version.
    """
    hosts: dict[tuple[str, str], Host] = {}
    folders = find_bundles(settings.models)
    for folder in folders:
        bundle = read_bundle(folder)
        name = (bundle.manifest.name, bundle.manifest.version)
        if name in hosts:
            raise ValueError(f"{folder} and {hosts[name].bundle.folder} are both {name}")
        hosts[name] = load_host(bundle, settings, metrics, len(folders))
    return list(hosts.values())


def load_host(bundle: Bundle, settings: Settings, metrics: EngineMetrics, models: int = 1) -> Host:
    """One bundle with its runtime, slots and queue, as one of so many models that share the
    device. Raises BackendError."""
    manifest, slots = bundle.manifest, slots_of(bundle, settings, models)
    initial = bundle.initial_state()
    backend, reason = pick_backend(bundle, settings)
    try:
        runtime = Runtime(
            backend,
            manifest.state,
            manifest.input.dims[0],
            slots,
            settings.max_batch,
            [initial[tensor.name] for tensor in manifest.state],
            reason,
        )
    except MemoryError as error:
        raise BackendError(f"{slots} slots of {bundle.folder} do not fit in memory") from error
    log.info(
        "%s %s: %s on %s (%s), batches to a multiple of %d up to %d, %d slots of %d bytes",
        manifest.name,
        manifest.version,
        backend.name,
        backend.device,
        reason,
        runtime.multiple,
        settings.max_batch,
        slots,
        runtime.slot_bytes,
    )
    scheduler = Scheduler(settings.max_batch, settings.max_queue, tenant_share=settings.queue_share)
    return Host(bundle, runtime, Arena(slots), scheduler, metrics)


def slots_of(bundle: Bundle, settings: Settings, models: int) -> int:
    """NTM_SLOTS, or fewer where NTM_DEVICE_STATE_BYTES, split evenly over the models, holds no
    more; what an arena needs at least in any case."""
    if not settings.device_state_bytes:
        return settings.slots
    state_bytes = sum(tensor.nbytes for tensor in bundle.manifest.state)
    held = settings.device_state_bytes // models // state_bytes
    return max(LEAST_SLOTS, min(settings.slots, held))


class Choice(NamedTuple):
    """A backend, and why this one."""

    backend: Backend
    reason: str


def pick_backend(bundle: Bundle, settings: Settings) -> Choice:
    """What NTM_RUNTIME and NTM_DEVICE ask for. "auto" is the step that `ntm compile` built of the
    bundle for this machine, on the CPU where there is one, else ONNX Runtime.

    Raises BackendError where the bundle or the machine has it not.
    """
    if is_sparse(bundle.manifest.state):
        return _one_by_one(bundle, settings)
    if settings.runtime == "torchscript":
        return Choice(_torchscript(bundle, settings), "NTM_RUNTIME=torchscript")
    if settings.runtime == "fused":
        return Choice(_fused(bundle, settings), "NTM_RUNTIME=fused")
    device = _device(settings)
    if settings.runtime == "onnx":
        return Choice(_onnx(bundle, settings, device), "NTM_RUNTIME=onnx")
    if device == "cpu":
        try:
            return Choice(_aot(bundle, settings), "compiled for this machine")
        except (NotCompiled, BackendError) as error:
            reason = str(error)
    else:
        reason = f"a step is compiled for the CPU alone, and runs on {device}"
    if settings.runtime == "aot":
        raise BackendError(
            f"NTM_RUNTIME=aot: {reason}; ntm compile builds one on a machine with torch and g++, "
            "for NTM_DEVICE=cpu"
        )
    return Choice(_onnx(bundle, settings, device), reason)


def _one_by_one(bundle: Bundle, settings: Settings) -> Choice:
    """Of a state with sparsely updated tensors, which stay where they are: on the CPU."""
    from service.engine.one_by_one import OneByOne, onnx_step, torchscript_step
    from service.engine.onnx import check_graph, open_session

    spec = bundle.manifest.state
    if settings.device == "cuda" or settings.runtime in ("aot", "fused"):
        raise BackendError(
            f"{bundle.folder} has sparsely updated state, which is stepped on the CPU: set "
            "NTM_DEVICE=auto or cpu, and NTM_RUNTIME=auto, onnx or torchscript, got "
            f"{settings.device} and {settings.runtime}"
        )
    if settings.runtime == "torchscript":
        program = _trusted(bundle, settings)
        try:
            step = torchscript_step(program, settings.threads)
        except ImportError as error:
            raise BackendError(f"NTM_RUNTIME=torchscript needs torch: {error}") from error
        return Choice(OneByOne("torchscript", step, spec), "NTM_RUNTIME=torchscript")
    session = open_session(bundle.read(STEP_ONNX), settings.threads, "CPUExecutionProvider")
    check_graph(session, bundle.manifest)
    return Choice(OneByOne("onnx", onnx_step(session, spec), spec), "its state is updated sparsely")


def _device(settings: Settings) -> str:
    if settings.device != "auto":
        return settings.device
    from service.engine.onnx import has_cuda

    return "cuda" if has_cuda() else "cpu"


def _onnx(bundle: Bundle, settings: Settings, device: str) -> Backend:
    from service.engine.onnx import OnnxCpu, check_graph

    manifest, model = bundle.manifest, bundle.read(STEP_ONNX)
    if device == "cpu":
        backend = OnnxCpu(model, manifest.state, settings.threads)
        check_graph(backend.session, manifest)
        return backend
    try:
        from service.engine.torch_arrays import pick_device
        from service.engine.torchscript import OnnxBound
    except ImportError as error:
        raise BackendError("NTM_DEVICE=cuda needs torch: install the extra 'gpu'") from error
    device = pick_device(device)
    bound = OnnxBound(model, manifest.state, device, settings.threads)
    check_graph(bound.session, manifest)
    return bound


def _aot(bundle: Bundle, settings: Settings) -> Backend:
    path = find(cache_folder(settings.cache), bundle.fingerprint)
    try:
        from service.engine.aot import Aot
    except ImportError as error:
        raise BackendError(f"torch cannot be imported: {error}") from error
    return Aot(path, bundle.manifest.state, settings.threads)


def _trusted(bundle: Bundle, settings: Settings) -> bytes:
    if not settings.trust_code:
        raise BackendError(
            "TorchScript is a program, not data: NTM_RUNTIME=torchscript needs NTM_TRUST_CODE=1"
        )
    if STEP_TORCHSCRIPT not in bundle.manifest.files:
        raise BackendError(
            f"{bundle.folder} has no {STEP_TORCHSCRIPT}: make one with ntm export --torchscript"
        )
    return bundle.read(STEP_TORCHSCRIPT)


def _torchscript(bundle: Bundle, settings: Settings) -> Backend:
    program = _trusted(bundle, settings)
    try:
        from service.engine.torch_arrays import pick_device
        from service.engine.torchscript import TorchScript
    except ImportError as error:
        raise BackendError("NTM_RUNTIME=torchscript needs torch: the extra 'gpu'") from error
    device = pick_device(settings.device)
    return TorchScript(program, device, settings.threads)


def _fused(bundle: Bundle, settings: Settings) -> Backend:
    manifest = bundle.manifest
    if WEIGHTS not in manifest.files:
        raise BackendError(f"{bundle.folder} has no {WEIGHTS}: make one with ntm export --weights")
    try:
        from service.engine.fused import Fused, fused_step
        from service.engine.torch_arrays import pick_device
    except ImportError as error:
        raise BackendError("NTM_RUNTIME=fused needs torch: install the extra 'gpu'") from error
    device = pick_device(settings.device)
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise BackendError("NTM_RUNTIME=fused: the fused step runs on a GPU, and torch finds none")
    step = fused_step(manifest.family, manifest.card, bundle.read(WEIGHTS), device)
    return Fused(step, device, settings.threads)
