"""The step as native code for this machine: torch.export, then AOTInductor and a C++ compiler.

It is no part of a bundle: what it does cannot be read from it, and it runs on like machines only.
`ntm compile` puts it into a cache of the machine's own.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch._inductor import aoti_compile_and_package, aoti_load_package

from export.parity import Arrays, Stepper
from export.step import StepModule

BATCH = "batch"
OPTIONS: dict[str, Any] = {
    "cpp.threads": 1,  # a step is small: handing it to others takes longer than doing it
    "aot_inductor.precompile_headers": False,  # they pay for themselves from the third step on
}


def to_aot(step: StepModule, path: Path) -> None:
    """Write the step as a package of native code. Its batch is dynamic.

    path: where to, ending in .pt2; its folder is used for scratch. Raises ValueError where there
    is no C++ compiler, or it fails.
    """
    require_compiler()
    batch = torch.export.Dim(BATCH)
    axes = ({0: batch}, tuple({0: batch} for _ in step.state_spec))
    compile_: Callable[..., str] = aoti_compile_and_package
    with torch.no_grad(), _scratch(path.parent / "scratch"), warnings.catch_warnings():
        # What torch says of its own affairs as it imports and calls its compiler.
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        program = torch.export.export(step, step.example(), dynamic_shapes=axes)
        try:
            compile_(program, package_path=str(path), inductor_configs=OPTIONS)
        except RuntimeError as error:
            raise ValueError(f"the step could not be compiled: {error}") from error


def require_compiler() -> None:
    """Raises ValueError where there is no C++ compiler."""
    wanted = os.environ.get("CXX", "g++")
    if shutil.which(wanted) is None:
        raise ValueError(
            f"a C++ compiler is needed, and there is no {wanted!r} here: install g++, or name "
            "another in CXX"
        )


def aot_stepper(path: Path) -> Stepper:
    """The compiled step, as parity calls it."""
    package: Any = aoti_load_package(str(path), run_single_threaded=True)

    def run(inputs: Arrays) -> Arrays:
        outputs: list[torch.Tensor] = package.loader.run([torch.from_numpy(a) for a in inputs])
        return [output.numpy() for output in outputs]

    return run


@contextmanager
def _scratch(folder: Path) -> Generator[None]:
    """Sources and objects go there for the while, not to a folder under /tmp that others know."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(name)
    os.environ[name] = str(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
