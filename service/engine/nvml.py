"""How busy the machine's GPUs are, from NVIDIA's management library, which comes with the driver.

Read at a scrape, by ctypes: it is a C library with a stable interface, and of it five calls are
wanted. What a device does not tell (a slice of one, MIG, tells no utilization) is None.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

LIBRARY = "libnvidia-ml.so.1"
UUID_BYTES = 96
MILLI = 1e-3


class Gpu(msgspec.Struct, frozen=True):
    """A device of the machine. busy: share of the last moment that it computed, 0 to 1."""

    index: int
    uuid: str
    used_bytes: int | None
    total_bytes: int | None
    busy: float | None
    watts: float | None


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]  # per cent


def read(library: str = LIBRARY) -> list[Gpu]:
    """All devices that the driver shows this process, whoever uses them. None without a driver."""
    nvml = _opened(library)
    count = ctypes.c_uint()
    if nvml is None or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return []
    return [gpu for index in range(count.value) if (gpu := _gpu(nvml, index)) is not None]


@cache
def _opened(library: str) -> Any:
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return None
    return nvml if nvml.nvmlInit_v2() == 0 else None


def _gpu(nvml: Any, index: int) -> Gpu | None:
    device = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)) != 0:
        return None
    uuid = ctypes.create_string_buffer(UUID_BYTES)
    nvml.nvmlDeviceGetUUID(device, uuid, ctypes.c_uint(UUID_BYTES))
    memory = _told(nvml.nvmlDeviceGetMemoryInfo, device, _Memory())
    use = _told(nvml.nvmlDeviceGetUtilizationRates, device, _Utilization())
    power = _told(nvml.nvmlDeviceGetPowerUsage, device, ctypes.c_uint())
    return Gpu(
        index,
        uuid.value.decode(),
        memory and memory.used,
        memory and memory.total,
        use and use.gpu / 100,
        power and power.value * MILLI,
    )


def _told(ask: Callable[..., int], device: ctypes.c_void_p, answer: Any) -> Any:
    """The answer that the call filled in, None where the device has none."""
    return answer if ask(device, ctypes.byref(answer)) == 0 else None
