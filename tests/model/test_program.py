import torch

from model.circuit import ARGUMENTS
from model.modules14 import MODULES
from model.nram import NRAM
from model.program import Block, blocks, describe, live_registers, watched_registers

R = 3
PLACES = {module.name: R + number for number, module in enumerate(MODULES)}


def block(halts: bool, sources: tuple[int, ...], **calls: tuple[int, ...]) -> Block:
    """A block whose other modules all take register 1."""
    given = {name.replace("_", "-"): places for name, places in calls.items()}
    arguments = tuple(given.get(m.name, (0,) * m.arguments) for m in MODULES)
    return Block(arguments, sources, halts)


# Reads what the first cell says; then, with r2 above 0, writes what stands there into cell 0.
LOOK = block(False, (0, PLACES["INC"], 2), READ=(0,), INC=(PLACES["READ"],), WRITE=(1, 2))
PUT = block(True, (2, 2, 2), READ=(1,), ADD=(1, 2), WRITE=(0, PLACES["READ"]))
FOUND = {LOOK: [(True, True, True)], PUT: [(True, False, True)]}


def test_a_program_has_a_line_a_call_and_nothing_that_comes_to_nothing() -> None:
    assert describe({LOOK: [(True, True, True)], PUT: [(True, False, True)]}).splitlines() == [
        "1. when r2 = 0:",
        "   read = READ(r1)",
        "   inc = INC(read)",
        "   WRITE(r2, r3)",
        "   r2 <- inc",
        "   next step",
        "2. when r2 > 0:",
        "   read = READ(r2)",
        "   WRITE(r1, read)",
        "   halt",
    ]


def test_only_registers_that_tell_blocks_apart_are_watched() -> None:
    assert watched_registers(FOUND) == [1]
    assert live_registers(FOUND, [1]) == {0, 1, 2}
    idle = block(False, (0, 1, 2), WRITE=(0, 0))
    assert live_registers({idle: [(True, True, True)]}, []) == {0}
    assert describe({idle: [(True, True, True)]}) == "1. always:\n   WRITE(r1, r1)\n   next step"


def test_a_register_that_a_live_register_comes_from_is_live_too() -> None:
    turn = block(False, (1, 2, 2), WRITE=(0, 0))
    assert live_registers({turn: [(True, True, True)]}, []) == {0, 1, 2}


def test_constants_are_told_as_numbers_and_what_write_gives_is_zero() -> None:
    write = PLACES["WRITE"]
    sums = block(
        True, (0, 0, 0), ADD=(PLACES["ONE"], PLACES["TWO"]), WRITE=(PLACES["ZERO"], PLACES["ADD"])
    )
    told = describe({sums: [(True, True, True)]})
    assert "add = ADD(1, 2)" in told and "WRITE(0, add)" in told
    moves = block(False, (write, 1, 2), WRITE=(0, 0))
    assert "r1 <- 0" in describe({moves: [(True, True, True)]})


def test_the_blocks_of_a_machine_are_the_likeliest_of_its_choices() -> None:
    torch.manual_seed(1)
    network = NRAM(6, registers=R, controller_size=5)
    with torch.no_grad():
        network.emit.weight.zero_()
        network.halt.weight.zero_()
        network.halt.bias.fill_(1.0)
    found = blocks(network, torch.eye(6).expand(4, -1, -1))
    [(only, seen)] = found.items()
    assert only.halts and seen == [(True, True, True)] and not network.discrete
    logits = network.emit.bias.view(ARGUMENTS + R, R + len(MODULES))
    assert only.arguments[0] == (int(logits[0, :R].argmax()),)
    assert only.sources == tuple(logits[ARGUMENTS:].argmax(dim=1).tolist())


def test_a_machine_that_never_halts_is_stopped() -> None:
    torch.manual_seed(1)
    network = NRAM(5, registers=R, controller_size=4)
    with torch.no_grad():
        network.halt.weight.zero_()
        network.halt.bias.fill_(-1.0)
    assert all(not found.halts for found in blocks(network, torch.eye(5).expand(2, -1, -1)))
