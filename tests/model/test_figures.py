from pathlib import Path

import numpy
import torch

from model import figures
from tests.model.scripted import L, M, T, episodes


def test_a_figure_is_written_as_png_and_svg_and_the_same_each_time(tmp_path: Path) -> None:
    def draw(folder: Path) -> list[bytes]:
        figure = figures.curves({"a": [(1, 2), (3, 4)]}, "x", "y")
        return [path.read_bytes() for path in figures.save(figure, folder, "curve")]

    png, svg = draw(tmp_path / "one")
    assert png.startswith(b"\x89PNG") and b"<svg" in svg
    assert [png, svg] == draw(tmp_path / "two")


def test_the_episode_shows_input_target_output_and_used_slots() -> None:
    figure = figures.episode(episodes(), number=2)
    shown = {
        axis.get_ylabel(): numpy.asarray(axis.images[0].get_array())
        for axis in figure.axes
        if axis.images and axis.get_ylabel()
    }
    assert set(shown) == {"input", "target", "output", "write weights", "read weights"}
    batch = episodes().batch
    assert (shown["input"] == batch.inputs[2].T.numpy()).all() and shown["input"].shape == (M, T)
    assert (shown["target"] == batch.targets[2].T.numpy()).all()
    assert (shown["output"][:, : L + 1] == 0).all()
    assert abs(shown["output"] - shown["target"]).max() < 1e-3
    assert shown["write weights"].shape == (4, T) and shown["read weights"].shape == (3, T)
    assert (shown["write weights"].argmax(axis=0) == [0, 1, 2, 3, 3, 3, 3]).all()


def test_several_runs_are_drawn_as_their_median_and_range() -> None:
    runs = {
        "a": [(10, 4.0), (20, 1.0), (30, 0.0)],
        "b": [(10, 8.0), (20, 3.0)],
        "c": [(10, 5.0), (20, 2.0)],
    }
    axis = figures.spread(runs, "sequences", "bits").axes[0]
    (line,) = axis.lines
    assert line.get_xydata().tolist() == [[10, 5], [20, 2]]  # pyright: ignore
    edges = axis.collections[0].get_paths()[0].vertices
    assert edges[:, 1].min() == 1 and edges[:, 1].max() == 8  # pyright: ignore


def test_bars_stand_at_their_values() -> None:
    groups = {"read": {"content": 0.25, "kept": 0.75}, "write": {"kept": 1.0}}
    axis = figures.bars(groups, "share").axes[0]
    heights = [patch.get_height() for patch in axis.patches]  # pyright: ignore
    assert heights == [0.25, 0.75, 0.0, 1.0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["content", "kept"]


def test_a_network_without_heads_is_drawn_without_them() -> None:
    seen = episodes()._replace(state={"controller_hidden": torch.zeros(4, T, 3)})
    names = {axis.get_ylabel() for axis in figures.episode(seen).axes}
    assert "output" in names and not any("weights" in name for name in names)
