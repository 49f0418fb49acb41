"""Training on several processes, one a device, as torchrun starts them.

Every process draws the same batch and runs its own share of it; gradients are averaged, so all
keep the same weights, and the first one writes the files. Alone, all of this does nothing.
"""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from model.tasks import Batch


@contextmanager
def process_group(device: str) -> Generator[None]:
    """Joins the group that torchrun's environment names, and leaves it; alone where it names none.

    NCCL between CUDA devices, else Gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Which of the processes this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes() -> int:
    """How many there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def own_device(device: str) -> str:
    """`device`, and for "cuda" among several processes the one of this process on its host."""
    if device == "cuda" and processes() > 1:
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


def own_share(batch: int) -> int:
    """Sequences of a batch that each process runs. Raises ValueError where they do not divide."""
    if batch % processes():
        raise ValueError(f"batch must be a multiple of {processes()} processes, got {batch}")
    return batch // processes()


def share(batch: Batch) -> Batch:
    """This process's sequences of a batch that all have drawn."""
    rows = own_share(batch.inputs.shape[0])
    begin = rank() * rows
    return batch.each(lambda part: part[begin : begin + rows])


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Puts into each tensor its mean over the processes, in one exchange."""
    if processes() == 1:
        return
    joined = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(joined)
    joined /= processes()
    parts = joined.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def anywhere(flag: bool, device: str) -> bool:
    """Whether `flag` is set in any of the processes, so that all of them stop at the same step."""
    if processes() == 1:
        return flag
    told = torch.tensor(float(flag), device=own_device(device))
    distributed.all_reduce(told)
    return bool(told)
