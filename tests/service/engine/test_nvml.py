"""The driver's library: a stand-in with its interface in C, and the real one where a GPU is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from service.engine import nvml

# The five calls of nvml.h, with its types, for two devices; the second is a slice: no utilization.
STAND_IN = r"""
#include <string.h>
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned int gpu, memory; } nvmlUtilization_t;
typedef struct nvmlDevice_st { int at; } *nvmlDevice_t;
enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3 };
static struct nvmlDevice_st devices[2] = {{0}, {1}};
int nvmlInit_v2(void) { return OK; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 3; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
  if (index > 1) return INVALID;
  *device = &devices[index];
  return OK;
}
int nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
  strncpy(uuid, device->at ? "MIG-b" : "GPU-a", length);
  return OK;
}
int nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
  memory->total = 85899345920ULL; memory->used = 6442450944ULL; memory->free = 79456894976ULL;
  return OK;
}
int nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *use) {
  if (device->at) return NOT_SUPPORTED;
  use->gpu = 73; use->memory = 11;
  return OK;
}
int nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *power) {
  if (device->at) return NOT_SUPPORTED;
  *power = 312500;
  return OK;
}
"""


def test_without_a_driver_there_is_no_gpu():
    assert nvml.read("libnvidia-ml-nowhere.so.1") == []


def test_what_the_driver_tells_is_read_in_its_units(tmp_path: Path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    (tmp_path / "nvml.c").write_text(STAND_IN)
    library = tmp_path / "libnvml.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    whole, part = nvml.read(str(library))
    assert whole == nvml.Gpu(0, "GPU-a", 6 << 30, 80 << 30, 0.73, 312.5)
    assert part == nvml.Gpu(1, "MIG-b", 6 << 30, 80 << 30, None, None)


@pytest.mark.cuda
def test_the_real_driver_tells_of_the_memory_that_torch_sees():
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")
    total = torch.cuda.get_device_properties(0).total_memory
    assert any(gpu.total_bytes == pytest.approx(total, rel=0.05) for gpu in nvml.read())
