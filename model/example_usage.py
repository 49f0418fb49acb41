"""All features of the Neural Turing Machine, one section each: `python model/example_usage.py`.

Takes no arguments and under a minute on one core; what it prints, it has just computed.
"""

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

# For a run as a file where the project is not installed: the folder that holds `model`.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from model.addressing import AddressingSystem, circular_shift
from model.controllers import ControllerKind
from model.families import load
from model.memory import MemoryBank
from model.neural_turing_machine import MultiHeadNTM, NeuralTuringMachine
from model.state import flatten
from model.tasks.copy import Copy

ZOO_COPY = Path(__file__).parent / "zoo" / "copy"
CONTROLLERS: tuple[ControllerKind, ...] = ("lstm", "feedforward", "attention")


def build_and_run() -> None:
    """A machine and a whole sequence through it."""
    ntm = NeuralTuringMachine(input_size=9, output_size=8, memory_size=128, memory_width=20)
    inputs = torch.rand(3, 11, 9)  # 3 sequences of 11 rows
    outputs = ntm(inputs)
    print(f"inputs {tuple(inputs.shape)} -> outputs {tuple(outputs.shape)}, logits")
    print(f"parameters: {sum(parameter.numel() for parameter in ntm.parameters()):,}")


def step_by_step() -> None:
    """The state is a value: the caller keeps it, so two sequences share one machine."""
    ntm = NeuralTuringMachine(9, 8, 128, 20)
    red, blue = torch.rand(1, 5, 9), torch.rand(1, 5, 9)
    red_state, blue_state = ntm.initial_state(1), ntm.initial_state(1)
    red_outputs: list[Tensor] = []
    for t in range(5):
        output, red_state = ntm.step(red[:, t], red_state)
        _, blue_state = ntm.step(blue[:, t], blue_state)
        red_outputs.append(output)
    alone = ntm(red)
    same = torch.equal(torch.stack(red_outputs, dim=1), alone)
    print(f"interleaved with another sequence, the outputs are those of one alone: {same}")
    for spec in ntm.state_spec:
        print(f"  {spec.name:18} {spec.role:14} {list(spec.dims)}")


def look_inside() -> None:
    """Memory, weights, and what the heads asked for."""
    ntm = NeuralTuringMachine(9, 8, 16, 5)
    _, state = ntm.run(torch.rand(1, 4, 9))
    _, state, trace = ntm.step_traced(torch.rand(1, 9), state)
    memory = ntm.get_memory_state(state)
    print(f"memory {tuple(memory.shape)}, slot 0: {rounded(memory[0, 0])}")
    print(f"read weights  {rounded(state.read_weights[0, 0])}")
    print(f"write weights {rounded(state.write_weights[0, 0])}")
    print(f"sums: {state.read_weights.sum():.6f} and {state.write_weights.sum():.6f}")
    gate, shift = trace.read.gate[0, 0].item(), rounded(trace.read.shift[0, 0])
    print(f"the read head's gate {gate:.3f}, shift by -1, 0, +1: {shift}")


def heads_and_controllers() -> None:
    """Any number of heads, three kinds of controller."""
    _, state = MultiHeadNTM(9, 8, 128, 20, num_heads=4).run(torch.rand(3, 2, 9))
    print(f"4 heads: read weights {tuple(state.read_weights.shape)}, (B, R, N)")
    for controller in CONTROLLERS:
        ntm = NeuralTuringMachine(9, 8, 128, 20, controller=controller)
        dims = [list(spec.dims) for spec in ntm.state_spec if spec.role == "controller"]
        print(f"{controller:12} outputs {tuple(ntm(torch.rand(3, 2, 9)).shape)}, keeps {dims}")


def addressing_by_hand() -> None:
    """Find a slot by its content, move on by one, write there."""
    memory = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]])
    key, beta = torch.tensor([[0.0, 2.0]]), torch.tensor([[8.0]])
    system = AddressingSystem()
    content = system.content_based_addressing(key, memory, beta)
    print(f"content weights of the key (0, 2): {rounded(content[0])}")
    forward = torch.tensor([[0.0, 0.1, 0.9]])
    print(f"shifted by one, a little blurred:  {rounded(circular_shift(content, forward)[0])}")
    gate, gamma = torch.tensor([[1.0]]), torch.tensor([[5.0]])
    weights = system.location_based_addressing(content, gate, forward, gamma)
    print(f"and sharpened, gamma 5:            {rounded(weights[0])}")
    bank = MemoryBank(memory_size=4, memory_width=2)
    written = bank.write(memory, weights, torch.ones(1, 2), torch.tensor([[0.3, 0.7]]))
    print(f"(0.3, 0.7) written there, slot 2:  {rounded(bank.get_memory_contents(written)[0, 2])}")
    print(f"and read back:                     {rounded(bank.read(written, weights)[0])}")


def train_a_little() -> None:
    """200 steps on copying 1 to 3 rows of 3 bits: ln 2 = 0.693 is guessing."""
    task = Copy(width=3, max_length=3)
    ntm = NeuralTuringMachine(task.input_size, task.output_size, 12, 6, controller_size=32)
    optimiser = torch.optim.Adam(ntm.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    losses: list[float] = []
    for step in range(1, 201):
        batch = task.sample(generator, 32)
        loss = task.loss(ntm(batch.inputs), batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(ntm.parameters(), 10.0)
        optimiser.step()
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"steps {step - 49:3} to {step:3}: mean loss {sum(losses[-50:]) / 50:.3f}")


def copy_a_pattern() -> None:
    """The trained model of the zoo: shown 8 rows, asked for them with the delimiter flag."""
    ntm, card = load(ZOO_COPY)
    batch = Copy().at_length(torch.Generator().manual_seed(7), 1, 8)
    state, outputs = ntm.initial_state(1), []
    with torch.no_grad():
        for row in batch.inputs.unbind(dim=1):
            output, state = ntm.step(row, state)
            outputs.append(torch.sigmoid(output))
    shown, copied = batch.inputs[0, :8, :8], torch.stack(outputs[9:], dim=1)[0].round()
    print(f"model {card.name} {card.version}, trained by: {card.command}")
    for seen, answer in zip(shown, copied, strict=True):
        print(f"  in {bits(seen)}   out {bits(answer)}")
    print(f"wrong bits: {int((shown != copied).sum())} of {shown.numel()}")


def export_and_step() -> None:
    """The trained model as a bundle, and its ONNX step without torch."""
    wanted = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in wanted if find_spec(name) is None]:
        print(f"skipped: {', '.join(missing)} not installed; extras `train` and `cpu` bring them")
        return
    import onnxruntime

    from export.pack import pack

    ntm, card = load(ZOO_COPY)
    batch = Copy().at_length(torch.Generator().manual_seed(7), 1, 8)
    with tempfile.TemporaryDirectory() as folder:
        manifest = pack(ntm, card, Path(folder))
        print(f"bundle: manifest.json, {', '.join(manifest.files)}")
        session = onnxruntime.InferenceSession(
            f"{folder}/step.onnx", providers=["CPUExecutionProvider"]
        )
    names = [spec.name for spec in manifest.state]
    state = ntm.initial_state(1)
    arrays = [part.detach().numpy() for part in flatten(state)]
    furthest = 0.0
    for row in batch.inputs.unbind(dim=1):
        feeds = dict(zip(["x", *names], [row.numpy(), *arrays], strict=True))
        answer, *arrays = session.run(["y", *(f"{name}_next" for name in names)], feeds)
        output, state = ntm.step(row, state)
        furthest = max(furthest, float(abs(answer - torch.sigmoid(output).detach().numpy()).max()))
    print(f"17 rows in ONNX Runtime and in torch: largest difference {furthest:.1e}")


def serve_a_session() -> None:
    """A server of its own, a session stepped over HTTP, why its heads went where, and a figure."""
    wanted = ("litestar", "onnxruntime", "matplotlib")
    if missing := [name for name in wanted if find_spec(name) is None]:
        print(f"skipped: {', '.join(missing)} not installed; extras `train` and `cpu` bring them")
        return
    from model import example_session

    example_session.main()


def rounded(vector: Tensor) -> list[float]:
    """The numbers of a vector, to three places."""
    return [round(number, 3) for number in vector.tolist()]


def bits(row: Tensor) -> str:
    """A row of zeros and ones as one word."""
    return "".join(str(int(bit)) for bit in row.tolist())


SECTIONS = {
    "Build a machine, run a sequence": build_and_run,
    "Step by step, the state in your hands": step_by_step,
    "Look at memory and heads": look_inside,
    "More heads, other controllers": heads_and_controllers,
    "Addressing by hand": addressing_by_hand,
    "Train a little": train_a_little,
    "Copy a pattern with the trained model": copy_a_pattern,
    "Export to a bundle, step it in ONNX Runtime": export_and_step,
    "Serve a session, explain and draw it": serve_a_session,
}


def main() -> None:
    """Every section in turn."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # steps are too small to share: threads would wait for each other
    for number, (title, section) in enumerate(SECTIONS.items(), start=1):
        print(f"\n{number}. {title}")
        section()


if __name__ == "__main__":
    main()
