"""Specs, and states as flat tuples of tensors."""

import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from model.state import TensorSpec, flatten, unflatten


class Inner(NamedTuple):
    hidden: Tensor
    cell: Tensor


class Outer(NamedTuple):
    memory: Tensor
    inner: Inner
    rest: tuple[Tensor, ...]
    nothing: tuple[Tensor, ...]
    last: Tensor


def outer() -> Outer:
    a, b, c, d, e, f = (torch.full((3,), float(i)) for i in range(6))
    return Outer(a, Inner(b, c), (d, e), (), f)


def test_flatten_gives_the_tensors_depth_first_in_order():
    assert [int(tensor[0]) for tensor in flatten(outer())] == [0, 1, 2, 3, 4, 5]


def test_flatten_of_a_bare_tensor_is_that_tensor():
    tensor = torch.zeros(3)
    assert flatten(tensor)[0] is tensor and len(flatten(tensor)) == 1


def test_unflatten_restores_nesting_and_types():
    state = outer()
    fresh = [torch.full((3,), 10.0 + i) for i in range(6)]
    again = unflatten(state, fresh)
    assert type(again) is Outer and type(again.inner) is Inner and type(again.rest) is tuple
    assert again.nothing == ()
    assert all(got is put for got, put in zip(flatten(again), fresh, strict=True))


def test_unflatten_leaves_the_list_it_is_given_alone():
    fresh = [torch.zeros(3) for _ in range(6)]
    unflatten(outer(), fresh)
    assert len(fresh) == 6


def test_unflatten_refuses_a_tensor_too_many():
    with pytest.raises(ValueError, match="1 tensors more than the state has"):
        unflatten(outer(), [torch.zeros(3)] * 7)


def test_unflatten_refuses_a_tensor_too_few():
    with pytest.raises(ValueError, match="fewer tensors than the state has"):
        unflatten(outer(), [torch.zeros(3)] * 5)


@pytest.mark.parametrize(("dtype", "nbytes"), [("float32", 140), ("int64", 280)])
def test_size_and_bytes_count_one_row(dtype, nbytes):
    spec = TensorSpec("memory", (7, 5), "memory", dtype)
    assert (spec.size, spec.nbytes) == (35, nbytes)


def test_a_scalar_has_one_element():
    assert TensorSpec("clock", (), "counter", "int64").size == 1


def test_a_spec_cannot_be_changed():
    with pytest.raises(AttributeError):
        TensorSpec("memory", (7, 5), "memory").name = "other"  # pyright: ignore


def test_reading_specs_needs_no_torch():
    code = "import sys, model.state; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
