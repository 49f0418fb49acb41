import torch

from model.scaling import Traffic, bytes_of_state, step_costs
from tests.model.machines import machine

SIZES = {"input_size": 9, "output_size": 8, "memory_width": 20, "memory_size": 128}


def test_bytes_of_state_are_those_of_its_tensors() -> None:
    # memory, read and write weights, reads, hidden and cell, at N=7, M=5, R=2, W=3, H=8
    assert bytes_of_state(machine()) == 4 * (7 * 5 + 2 * 7 + 3 * 7 + 2 * 5 + 2 * 8)


def test_costs_grow_by_the_same_for_every_slot() -> None:
    few, more, most = step_costs("ntm", SIZES, (16, 48, 112))
    # Matrix products over the slots: two of keys, the write, the read; 2 operations each.
    assert (more["flops"] - few["flops"]) == 32 * 4 * 2 * 20
    assert (most["flops"] - more["flops"]) == 64 * 4 * 2 * 20
    assert few["bytes_moved"] < more["bytes_moved"] < most["bytes_moved"]
    slope = (more["bytes_moved"] - few["bytes_moved"]) / 32
    assert (most["bytes_moved"] - more["bytes_moved"]) / 64 == slope


def test_traffic_counts_what_is_read_and_written_and_no_views() -> None:
    left, right = torch.zeros(3, 5), torch.zeros(3, 5)
    with Traffic() as traffic:
        torch.add(left, right)
        left.view(5, 3)
    assert traffic.nbytes == 3 * 60
