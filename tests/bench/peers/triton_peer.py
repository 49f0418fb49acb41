"""Triton: the tritonserver of the nvidia-pytriton wheel and its Python back end.

    nvidia_pytriton.libs/                              what tritonserver is linked to
    pytriton/tritonserver/bin/tritonserver
    pytriton/tritonserver/backends/python/             the back end, without
    pytriton/tritonserver/python_backend_stubs/3.11/   its process, one a version of Python

The stub is linked to libpython and takes the packages of the python3 it finds on PATH.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from sys import version_info

from export.bundle import Bundle
from tests.bench.peers.environments import INSIDE, clean, python_of
from tests.bench.peers.started import HOST, TOLERANCE, Running, ask, ready, started
from tests.bench.peers.wires import binary_v2, http_good
from tests.ports import free_port

STUB = "triton_python_backend_stub"


@contextmanager
def running(folder: Path, step: Path, bundle: Bundle) -> Generator[Running]:
    """Ready. Raises NotRun."""
    python, port, log = python_of("triton"), free_port(), folder / "triton.log"
    packages = _packages(python)
    backends = _with_stub(packages / "pytriton" / "tritonserver", folder)
    model = bundle.manifest.name
    repository = _repository(folder / "models", step, bundle)
    command = [str(packages / "pytriton/tritonserver/bin/tritonserver")]
    command += [f"--model-repository={repository}", f"--backend-directory={backends}"]
    command += [f"--http-address={HOST}", f"--http-port={port}", "--log-info=false"]
    command += ["--allow-grpc=false", "--allow-metrics=false"]
    command += [f"--backend-config=python,shm-region-prefix-name=peers-{port}-"]
    libraries = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
    path = f"{python.parent}:{os.environ['PATH']}"
    probe = f"GET /v2/models/{model}/ready HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with started(command, log, clean(PATH=path, LD_LIBRARY_PATH=libraries)) as pid:
        ready(pid, log, lambda: http_good(ask(port, probe)))
        yield Running(port, pid, TOLERANCE, lambda inputs: binary_v2(model, inputs))


def _packages(python: Path) -> Path:
    return python.parents[1] / "lib" / f"python{version_info[0]}.{version_info[1]}/site-packages"


def _with_stub(tritonserver: Path, folder: Path) -> Path:
    """The back ends, in `folder`, with the stub of this Python's version where it is looked for."""
    version = f"{version_info[0]}.{version_info[1]}"
    shutil.copytree(tritonserver / "backends", folder / "backends")
    shutil.copy(tritonserver / "python_backend_stubs" / version / STUB, folder / "backends/python")
    return folder / "backends"


def _repository(folder: Path, step: Path, bundle: Bundle) -> Path:
    """A model repository with the one model."""
    manifest = bundle.manifest
    version = folder / manifest.name / "1"
    shutil.copytree(step, version)
    shutil.copy(INSIDE / "state_table.py", version)
    shutil.copy(INSIDE / "triton_model.py", version / "model.py")
    config = (INSIDE / "triton_config.pbtxt").read_text()
    dims = {"input": manifest.input.dims[0], "output": manifest.output.dims[0]}
    (version.parent / "config.pbtxt").write_text(config % dims)
    return folder
