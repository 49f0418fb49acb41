"""The options of `ntm train`, and how options shared by the commands are read."""

import argparse
from collections.abc import Sequence
from typing import Any

from model.families import SIGHTED
from model.recipe import Recipe
from model.tasks import TASKS, Task, make_task

# Of the three layers of the LSTM that the paper compares with (Graves et al. 2014, table 3).
LSTM_WIDTHS = {
    "copy": 256,
    "repeat-copy": 512,
    "associative-recall": 256,
    "ngram": 128,
    "priority-sort": 128,
    "graph-paths": 256,  # not in that paper, as those below
    "addition": 256,
    "recursive-addition": 256,
    "bubble-sort": 256,
    "recursive-bubble-sort": 256,
    "few-shot": 200,  # of Santoro et al. 2016
    "few-shot-pairs": 200,
}
# What one family alone takes, by the value that leaves it out: a card tells it only where asked
# for, so runs and cards from before these were options go on unchanged.
OWN: dict[str, dict[str, Any]] = {
    "ntm": {"write_heads": 1, "shift_range": 1, "sharpening": "power"},
    "dnc": {"mask_content": False, "erase_freed": False, "sharpen_links": False, "state_clip": 0.0},
    "npi": {"columns": 128, "depth": 8},
    "mann": {"usage_decay": 0.99, "key_strength": False, "separate_add": False},
    "sam": {"reads": 4, "index": 0, "room": 64},
}


def options_of(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the command line of `ntm train`; the defaults are the paper's sizes, and Adam."""
    parser = argparse.ArgumentParser(
        prog="ntm train",
        description="Train a network on a task; write its weights, card, metrics, checkpoints.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("task", choices=sorted(TASKS))
    add("--seed", type=int, default=1, help="of the first weights and of the data")
    add("--seeds", type=int, help="train this many seeds from --seed on, and make a table of them")
    add("--out", help="folder of the run; None: runs/TASK-SEED")
    add("--name", help="name of the model in its card; None: the task")
    add("--start", default="", metavar="ENTRY", help="begin with its weights where they fit")
    add("--data", default="", metavar="FOLDER", help="few-shot: of Omniglot; None: the small sets")
    add("--resume", action="store_true", help="continue exactly from OUT/checkpoint.pt")
    add("--population", type=int, default=0, help="networks side by side, the best kept; 0: one")
    add("--steps", type=int, default=20_000, help="optimiser steps")
    add("--batch", type=int, default=32, help="sequences a step")
    modes = ("auto", "on", "off", "graphs")
    add("--compile", choices=modes, default="auto", help="the step; graphs: as CUDA graphs too")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    add("--threads", type=int, default=1, help="of one operation")
    _add_network(parser.add_argument_group("network"))
    _add_optimisation(parser.add_argument_group("optimisation"))
    _add_evaluation(parser.add_argument_group("evaluation, stopping and files"))
    return parser.parse_args(argv)


def _add_network(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    add = group.add_argument
    add("--family", default="ntm", help="of networks, by name")
    add(
        "--controller",
        choices=("lstm", "feedforward", "attention"),
        default="lstm",
        help="its kind",
    )
    add("--controller-size", type=int, help="width of its output; None: the paper's")
    add("--controller-layers", type=int, help="one above the other; None: the paper's")
    add("--sighted", action="store_true", help="look at drawings by a convolution first")
    add("--memory-size", type=int, default=128, help="slots")
    add("--memory-width", type=int, default=20, help="numbers a slot")
    add(
        "--memory-init", choices=("constant", "learned", "random"), default="constant", help="start"
    )
    add("--shift-range", type=int, default=1, help="slots a head may move by in one step")
    add("--sharpening", choices=("power", "softmax"), default="power", help="its form")
    add("--read-heads", type=int, default=1, help="number of them")
    add("--write-heads", type=int, default=1, help="number of them")
    add("--mask-content", action="store_true", help="dnc: compare with parts of a word")
    add("--erase-freed", action="store_true", help="dnc: wipe what is freed")
    add("--sharpen-links", action="store_true", help="dnc: keep the order of writing sharp")
    add("--state-clip", type=float, default=0.0, help="dnc: bound of its LSTM's state; 0: none")
    add("--columns", type=int, default=128, help="npi: of the scratch pad")
    add("--depth", type=int, default=8, help="npi: calls within calls, at most")
    add("--integers", type=int, default=64, help="nram: of a session; also the cells of its tape")
    add("--registers", type=int, default=4, help="nram: number of them")
    add("--discrete", action="store_true", help="nram: once trained, take the likeliest of each")
    add("--usage-decay", type=float, default=0.99, help="mann: of the usage, a step")
    add("--key-strength", action="store_true", help="mann: keys have a strength, as the NTM's")
    add("--separate-add", action="store_true", help="mann: write something else than the key")
    add("--reads", type=int, default=4, help="sam: slots that a head reads a step")
    add(
        "--index", type=int, default=0, help="sam: hash tables to find them by; 0: compare with all"
    )
    add("--room", type=int, default=64, help="sam: slots a bucket of a hash table has room for")


def _add_optimisation(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    add = group.add_argument
    add("--optimizer", choices=("adam", "rmsprop"), default="adam", help="by name")
    add("--learning-rate", type=float, default=1e-3, help="at the first step")
    add("--schedule", choices=("constant", "linear", "cosine"), default="constant", help="to 0")
    add("--weight-decay", type=float, default=0.0, help="a step; decoupled for Adam")
    add("--clip", type=float, default=10.0, help="largest norm of all gradients together")
    add("--clip-state", type=float, default=0.0, help="largest gradient of the state; 0: any")
    add("--noise", type=float, default=0.0, help="on the gradients at first; fades")
    add("--entropy", type=float, default=0.0, help="bonus a nat of undecidedness; fades")
    add("--write-cost", type=float, default=0.0, help="loss a unit of memory change, e.g. 1e-4")
    add("--mixed", action="store_true", help="each sequence of a batch a length of its own")
    add("--curriculum", type=float, default=0.0, help="loss that ends an easier stage; 0: none")
    add("--ema", type=float, default=0.0, help="decay of an average of the weights; 0: none")


def _add_evaluation(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    add = group.add_argument
    add("--eval-every", type=int, default=500, help="steps between evaluations")
    add("--eval-sequences", type=int, default=128, help="at the lengths of training")
    add("--target", type=float, default=0.0, help="bits a sequence that count as solved")
    add("--patience", type=int, default=10, help="solved evaluations in a row; 0: all steps")
    add("--select-lengths", type=parse_lengths, default=(), help="e.g. 20,50,80,120")
    add("--select-sequences", type=int, default=32, help="sequences a selection length")
    add("--test-sequences", type=int, default=100, help="sequences a length, at the end")
    add("--test-within", type=int, default=1000, help="sequences over the lengths of training")
    add("--checkpoint-every", type=int, default=500, help="steps")
    add("--tensorboard", action="store_true", help="also write OUT/tensorboard")
    add("--log-every", type=int, default=100, help="steps a line of metrics.jsonl is the mean of")


def parse_lengths(text: str) -> tuple[int, ...]:
    """Reads lengths such as 10,20,30. Raises ArgumentTypeError for anything else."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = (0,)
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"expected lengths like 10,20,30, got {text!r}")
    return values


def recipe_from(args: argparse.Namespace) -> Recipe:
    """The recipe that parsed options ask for. Raises ValueError for values out of range."""
    names = set(Recipe.__struct_fields__) & set(vars(args))
    chosen: dict[str, Any] = {name: getattr(args, name) for name in names}
    chosen["name"] = args.name or args.task
    chosen["out"] = args.out or f"runs/{args.task}-{args.seed}"
    chosen["network"] = network_config(args, make_task(args.task))
    return Recipe(**chosen)


def network_config(args: argparse.Namespace, task: Task) -> dict[str, Any]:
    """The constructor's arguments that the options and the task decide.

    An LSTM alone takes the controller's sizes as its own: by itself three layers, as wide as the
    paper has it for the task.
    """
    sizes = {"input_size": task.input_size, "output_size": task.output_size, **_eyes(args, task)}
    width, layers = args.controller_size, args.controller_layers
    if args.family == "npi":
        return sizes | npi_config(args, task)
    if args.family == "nram":
        return _nram_config(args)
    alone = args.family == "lstm"
    width = (LSTM_WIDTHS[task.name] if alone else 100) if width is None else width
    layers = (3 if alone else 1) if layers is None else layers
    if alone:
        return sizes | {"hidden_size": width, "layers": layers}
    options = ("memory_size", "memory_width", "controller", "read_heads", "memory_init")
    if args.family == "sam":  # its memory begins empty
        options = options[:-1]
    sizes |= {name: getattr(args, name) for name in options} | _own(args)
    return sizes | {"controller_size": width, "controller_layers": layers}


def _eyes(args: argparse.Namespace, task: Task) -> dict[str, int]:
    """What a network that looks at drawings is told of them. Raises ValueError where none are."""
    if not args.sighted:
        return {}
    if task.form["kind"] != "glyph" or args.family not in SIGHTED:
        raise ValueError(f"--sighted is for drawings and {', '.join(SIGHTED)}")
    return {"image_side": task.form["height"]}


def npi_config(args: argparse.Namespace, task: Task) -> dict[str, Any]:
    """What an NPI is built from besides its sizes. Raises ValueError for a task without programs,
    and for another family's options."""
    if "environment" not in task.form:
        raise ValueError(f"family 'npi' needs a task with programs, got {task.name!r}")
    given = {"hidden_size": args.controller_size, "layers": args.controller_layers}
    chosen = {name: value for name, value in given.items() if value is not None}
    return {"environment": task.form["environment"], **chosen, **_own(args)}


def _nram_config(args: argparse.Namespace) -> dict[str, Any]:
    names = ("integers", "registers", "controller", "discrete")
    chosen = {name: getattr(args, name) for name in names}
    width = 64 if args.controller_size is None else args.controller_size
    layers = 1 if args.controller_layers is None else args.controller_layers
    return chosen | {"controller_size": width, "controller_layers": layers}


def _own(args: argparse.Namespace) -> dict[str, Any]:
    """What was asked for of the options in OWN. Raises ValueError for another family's."""
    asked = {
        name: getattr(args, name)
        for family in OWN.values()
        for name, usual in family.items()
        if getattr(args, name) != usual
    }
    foreign = sorted(asked.keys() - OWN.get(args.family, asked).keys())
    if foreign:
        raise ValueError(f"family {args.family!r} does not take {', '.join(foreign)}")
    return ({"write_heads": args.write_heads} if args.family == "ntm" else {}) | asked
