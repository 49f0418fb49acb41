"""Families by name, and zoo entries: a folder with weights.safetensors and card.json."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from model.state import StateSpec

# family -> module:class, imported when first asked for.
FAMILIES = {
    "ntm": "model.neural_turing_machine:NeuralTuringMachine",
    "dnc": "model.dnc:DNC",
    "mann": "model.mann:MANN",
    "sam": "model.sam:SAM",
    "lstm": "model.lstm:LSTM",
    "npi": "model.npi:NPI",
    "nram": "model.nram:NRAM",
}
# Families whose rows may begin with a drawing that a convolution looks at (model/sighted.py), where
# `image_side` is among the constructor's arguments.
SIGHTED = ("ntm", "dnc", "mann", "lstm")
# family -> its step as one kernel for GPUs, where there is one. Called with a network and its
# activation it gives what model/fused_ntm.py does, or raises ValueError.
FUSED = {"ntm": "model.fused_ntm:FusedNTM"}
CARD = "card.json"
WEIGHTS = "weights.safetensors"

Activation = Literal["sigmoid", "softmax", "none"]


class Network(Protocol):
    """A network with memory as a pure step function. State: a (nested) tuple, batch first."""

    family: str
    input_size: int
    output_size: int

    @property
    def state_spec(self) -> StateSpec:
        """Names, dims and roles of the state."""
        ...

    @property
    def trace_spec(self) -> StateSpec:
        """Names, dims and roles of the trace."""
        ...

    def initial_state(self, batch: int) -> Any:
        """The state every episode starts with, for B rows."""
        ...

    def step(self, input_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """input_t: (B, X). Returns logits (B, Y) and the next state."""
        ...

    def step_traced(self, x: Tensor, state: Any) -> tuple[Tensor, Any, Any]:
        """x: (B, X). Returns logits (B, Y), the next state and the trace."""
        ...


class SparseNetwork(Network, Protocol):
    """A network with sparsely updated tensors in its state."""

    def updates(self, x: Tensor, state: Any) -> tuple[Tensor, Any, Any]:
        """What `step_traced` gives, but the next state has `Rows` (model/rows.py) of those."""
        ...


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of trained weights. The last three are free-form."""

    name: str
    version: str
    family: str
    task: str
    network: dict[str, Any]  # the constructor's arguments
    activation: Activation  # of the task's outputs, over the logits
    form: dict[str, Any]  # the kind of input form, e.g. {"kind": "bits", "flags": ["delimiter"]}
    command: str
    seed: int
    results: dict[str, Any] = {}
    training: dict[str, Any] = {}
    versions: dict[str, str] = {}


def build(family: str, config: dict[str, Any]) -> nn.Module:
    """A network of `family`, freshly initialised. config: its constructor's arguments.

    Raises ValueError for an unknown family and for arguments the family does not take.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {sorted(FAMILIES)}, got {family!r}")
    constructor = _named(FAMILIES[family])
    try:
        if family in SIGHTED and "image_side" in config:
            return _sighted(constructor, **config)
        return constructor(**config)
    except TypeError as error:
        raise ValueError(f"family {family!r} does not take {config}: {error}") from error


def _sighted(constructor: Any, *, image_side: int, input_size: int, **others: Any) -> nn.Module:
    from model.sighted import EMBEDDING, Sighted  # noqa: PLC0415 (it is made of networks)

    rest = input_size - image_side**2
    if image_side < 1 or rest < 0:
        raise ValueError(f"image_side must be 1 or more, and fit {input_size}, got {image_side}")
    return Sighted(constructor(input_size=EMBEDDING + rest, **others), image_side, input_size)


def fused(network: Network, activation: Activation) -> Any:
    """The network's step as one kernel. Raises ValueError where it has none, ImportError without
    the Triton language."""
    if hasattr(network, "eyes"):  # of model/sighted.py
        raise ValueError("a network that looks at drawings has no fused step")
    if network.family not in FUSED:
        raise ValueError(f"family {network.family!r} has no fused step, {sorted(FUSED)} have")
    return _named(FUSED[network.family])(network, activation)


def _named(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)


def read_card(entry: Path) -> Card:
    """The card of a zoo entry. Raises ValueError where it is not there or not a card."""
    try:
        return msgspec.json.decode((entry / CARD).read_bytes(), type=Card)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{entry / CARD} is no card: {error}") from error


def load(entry: Path, changes: Mapping[str, Any] | None = None) -> tuple[Network, Card]:
    """The trained network of a zoo entry, in evaluation mode, and its card.

    changes: of the constructor's arguments, where the weights fit all the same; the card then has
    these. Raises ValueError where the card is none, or the weights are not finite or in names,
    shapes and dtypes not exactly the network's.
    """
    card = read_card(entry)
    card = msgspec.structs.replace(card, network={**card.network, **(changes or {})})
    try:
        return restore(card.family, card.network, (entry / WEIGHTS).read_bytes()), card
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{entry / WEIGHTS} holds no weights: {error}") from error


def restore(family: str, config: dict[str, Any], data: bytes) -> Network:
    """The network whose weights are in `data`, in evaluation mode. Raises as `load` does, and
    SafetensorError."""
    network, weights = build(family, config), load_safetensors(data)
    check_weights(network.state_dict(), weights)
    network.load_state_dict(weights)
    return cast(Network, network.eval())


def check_weights(expected: dict[str, Tensor], got: dict[str, Tensor]) -> None:
    """Raises ValueError where names, shapes or dtypes differ, or a weight is not finite."""
    missing, extra = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
    if missing or extra:
        raise ValueError(f"weights lack {missing} and have {extra} too many")
    for name, tensor in got.items():
        want = expected[name]
        if (tensor.shape, tensor.dtype) != (want.shape, want.dtype):
            raise ValueError(
                f"weight {name!r} should be {want.dtype} {tuple(want.shape)}, "
                f"got {tensor.dtype} {tuple(tensor.shape)}"
            )
        if not tensor.isfinite().all():
            raise ValueError(f"weight {name!r} should be finite")
