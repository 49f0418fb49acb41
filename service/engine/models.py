"""From bundles in folders to hosts that run them."""

from __future__ import annotations

import logging

from export.bundle import STEP_ONNX, STEP_TORCHSCRIPT, Bundle, read_bundle
from service.engine.arena import LEAST_SLOTS, Arena
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
    try:
        runtime = Runtime(
            pick_backend(bundle, settings),
            manifest.state,
            manifest.input.dims[0],
            slots,
            settings.max_batch,
            [initial[tensor.name] for tensor in manifest.state],
        )
    except MemoryError as error:
        raise BackendError(f"{slots} slots of {bundle.folder} do not fit in memory") from error
    log.info(
        "%s %s: %s on %s, batches to a multiple of %d up to %d, %d slots of %d bytes",
        manifest.name,
        manifest.version,
        runtime.backend.name,
        runtime.backend.device,
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


def pick_backend(bundle: Bundle, settings: Settings) -> Backend:
    """What NTM_RUNTIME and NTM_DEVICE ask for; "auto" is ONNX Runtime, on CUDA where it can.

    Raises BackendError where the bundle or the machine has it not.
    """
    if settings.runtime == "torchscript":
        return _torchscript(bundle, settings)
    from service.engine.onnx import OnnxCpu, check_graph, has_cuda

    device = settings.device
    if device == "auto":
        device = "cuda" if has_cuda() else "cpu"
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


def _torchscript(bundle: Bundle, settings: Settings) -> Backend:
    if not settings.trust_code:
        raise BackendError(
            "TorchScript is a program, not data: NTM_RUNTIME=torchscript needs NTM_TRUST_CODE=1"
        )
    if STEP_TORCHSCRIPT not in bundle.manifest.files:
        raise BackendError(
            f"{bundle.folder} has no {STEP_TORCHSCRIPT}: make one with ntm export --torchscript"
        )
    try:
        from service.engine.torch_arrays import pick_device
        from service.engine.torchscript import TorchScript
    except ImportError as error:
        raise BackendError("NTM_RUNTIME=torchscript needs torch: the extra 'gpu'") from error
    device = pick_device(settings.device)
    return TorchScript(bundle.read(STEP_TORCHSCRIPT), device, settings.threads)
