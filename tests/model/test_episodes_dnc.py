"""What is recorded of a DNC."""

import torch

from model import algorithm, analysis
from model.dnc import DNC
from model.episodes import record
from model.tasks.copy import Copy

B, N, M, R = 3, 7, 5, 2


def test_all_but_the_links_is_recorded_and_measured() -> None:
    torch.manual_seed(1)
    network = DNC(9, 8, N, M, controller_size=6, read_heads=R)
    seen = record(network, Copy().at_length(torch.Generator().manual_seed(1), B, 3))
    names = {spec.name for spec in network.state_spec}
    assert seen.state.keys() == seen.first.keys() == names - {"link"}
    assert seen.state["usage"].shape == (B, 7, N)
    assert seen.trace.keys() == {spec.name for spec in network.trace_spec}


def test_the_modes_and_gates_of_an_episode_are_told_for_seeing_and_answering() -> None:
    torch.manual_seed(1)
    network = DNC(9, 8, N, M, controller_size=6)
    seen = record(network, Copy().at_length(torch.Generator().manual_seed(1), B, 3))
    seen.trace["read_modes"][:, :4] = torch.tensor([0.25, 0.5, 0.25])
    seen.trace["read_modes"][:, 4:] = torch.tensor([0.0, 0.25, 0.75])
    seen.trace["write_gate"][:, :4] = 0.5
    seen.trace["write_allocation"][:, :4] = 0.75
    found = analysis.access(seen)
    assert [found["read"]["seeing"][way] for way in ("backward", "content", "forward")] == [
        *(0.25, 0.5, 0.25)
    ]
    assert found["read"]["answering"]["forward"] == 0.75
    ways = ("allocation", "content", "nothing")
    assert [found["write"]["seeing"][way] for way in ways] == [0.375, 0.125, 0.5]
    shares = {rule.sentence: rule.share for rule in algorithm.rules(seen)}
    assert shares["the read head goes on in the order of writing while it answers"] == 1
    assert shares["the read head looks up by content while it answers"] == 0
    assert shares["the write head takes a free slot for each row seen"] == 1
