"""A network with eyes: what it is given, what teaches the eyes, and what is refused."""

from typing import Any, cast

import pytest
import torch
from torch import Generator, Tensor

from model.families import Network, build
from model.options import options_of, recipe_from
from model.sighted import EMBEDDING, SHARPNESS, GlyphEncoder, Sighted
from model.tasks.few_shot import FewShot
from model.trainer import Trainer

SIDE, REST, B = 6, 5, 3
SIZES = {"input_size": SIDE**2 + REST, "output_size": 5, "image_side": SIDE}
INNER: dict[str, dict[str, Any]] = {
    "mann": {"memory_size": 7, "memory_width": 4, "controller_size": 8},
    "ntm": {"memory_size": 7, "memory_width": 4, "controller_size": 8},
    "lstm": {"hidden_size": 8, "layers": 1},
}


def sighted(family: str = "mann") -> Sighted:
    torch.manual_seed(1)
    return cast(Sighted, build(family, SIZES | INNER[family]))


def rows() -> Tensor:
    return torch.rand(B, SIDE**2 + REST, generator=Generator().manual_seed(2))


@pytest.mark.parametrize("family", INNER)
def test_a_step_is_the_inner_networks_on_what_the_eyes_make_of_the_drawing(family: str) -> None:
    network, x = sighted(family), rows()
    assert isinstance(network, Sighted) and network.family == family
    state = network.initial_state(B)
    vector = network.eyes(x[:, : SIDE**2])
    seen = torch.cat([vector, x[:, SIDE**2 :]], dim=1)
    assert torch.equal(network.look(x), seen) and seen.shape == (B, EMBEDDING + REST)
    y, _ = network.step(x, state)
    traced, _, _ = network.step_traced(x, state)
    wanted, _ = network.inner.step(seen, state)
    assert torch.equal(y, wanted) and torch.equal(traced, wanted)
    assert torch.equal(network(x.unsqueeze(1))[:, 0], y)


def test_a_vector_has_mean_zero_and_variance_one_and_tells_drawings_apart() -> None:
    vectors = GlyphEncoder(20)(torch.rand(4, 400, generator=Generator().manual_seed(1)).round())
    assert vectors.shape == (4, EMBEDDING)
    torch.testing.assert_close(vectors.mean(dim=1), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(vectors.var(dim=1, correction=0), torch.ones(4), atol=1e-2, rtol=0)
    assert len(vectors.unique(dim=0)) == 4


def by_loops(seen: Tensor, labels: list[list[int]]) -> Tensor:
    """The loss drawing by drawing."""
    losses: list[Tensor] = []
    for vectors, told in zip(seen, labels, strict=True):
        for i, label in enumerate(told):
            share = {True: torch.zeros(()), False: torch.zeros(())}
            for j, other in enumerate(told):
                if i != j:
                    cosine = torch.cosine_similarity(vectors[i], vectors[j], dim=0)
                    same = other == label
                    share[same] = share[same] + (SHARPNESS * cosine).exp()
            if share[True] > 0:
                losses.append(-(share[True] / (share[True] + share[False])).log())
    return torch.stack(losses).mean()


def test_the_eyes_learn_that_drawings_of_a_character_are_most_alike() -> None:
    task = FewShot(told="with", side=SIDE, instances=2)
    batch = task.sample(Generator().manual_seed(1), 2)
    batch.targets[0, 0] = torch.eye(5)[(batch.targets[0, 0].argmax() + 1) % 5]
    network = sighted()
    seen = network.look(batch.inputs)
    drawn = seen[:, ::2, :EMBEDDING]
    labels = batch.targets[:, ::2].argmax(dim=2).tolist()
    loss = network.likeness_loss(seen, batch)
    torch.testing.assert_close(loss, by_loops(drawn, labels))
    loss.backward()
    gradients = [cast(Tensor, p.grad) for p in network.eyes.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(gradient.any() for gradient in gradients if gradient.dim() > 1)
    assert all(p.grad is None for p in cast(Any, network.inner).parameters())


def test_training_steps_the_inner_network_and_teaches_eyes_and_memory_at_once() -> None:
    line = "few-shot-pairs --family mann --sighted --controller-size 8 --memory-size 9"
    line += " --batch 2 --compile off --eval-sequences 1"
    trainer = Trainer(recipe_from(options_of(line.split())), lambda _: None)
    network = cast(Sighted, trainer.network)
    before = {name: part.clone() for name, part in network.state_dict().items()}
    trainer.advance()
    after = network.state_dict()
    moved = {name.split(".")[0] for name, part in before.items() if not after[name].equal(part)}
    assert moved == {"eyes", "inner"}
    batch = trainer.curriculum.sample(Generator().manual_seed(1), 2)
    seen = network.look(batch.inputs)
    state = cast(Network, network.inner).initial_state(2)
    for row in range(2):  # what is stepped in training gives what a session's step does
        wanted, _ = network.step(batch.inputs[:, row], state)
        y, state = trainer.forward(seen[:, row], state)
        torch.testing.assert_close(y, wanted)


def test_what_has_no_drawing_to_look_at_is_refused() -> None:
    with pytest.raises(ValueError, match="--sighted is for drawings and ntm, dnc, mann, lstm"):
        recipe_from(options_of(["copy", "--sighted"]))
    with pytest.raises(ValueError, match="image_side must be 1 or more, and fit 41, got 7"):
        build("mann", SIZES | INNER["mann"] | {"image_side": 7})
    with pytest.raises(ValueError, match=r"input_t must be \(B, 41\), got \(3, 40\)"):
        sighted().step(torch.zeros(3, 40), sighted().initial_state(3))
