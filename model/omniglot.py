"""Omniglot (Lake et al. 2015): characters of many alphabets, each drawn once by each of 20 people.

The repository holds the two "background small" sets, 8 alphabets of 242 characters, in
data/omniglot-small.npz. Another folder may hold any of the dataset's sets, as published: folders
or zip files of images_background, images_evaluation, or the small ones. `python -m model.omniglot
FOLDER FILE` packs such a folder into a file like ours.
"""

import io
import sys
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SMALL = Path(__file__).parent / "data" / "omniglot-small.npz"
DRAWERS = 20
SIDE, REDUCED = 105, 35  # pixels of a drawing as published, and as it is held here
EVALUATION = "images_evaluation"

Name = tuple[str, str, str]  # set, alphabet, character


class Omniglot(NamedTuple):
    """C characters. A pixel is 0 where there is no ink, 255 where all is ink."""

    drawings: Tensor  # (C, DRAWERS, REDUCED, REDUCED), uint8
    alphabets: tuple[str, ...]  # of each character
    evaluation: tuple[bool, ...]  # whether the dataset's own split puts it into the test


@lru_cache(maxsize=2)
def load(folder: str) -> Omniglot:
    """The characters in `folder`, by alphabet; those of the repository where it is "".

    Raises ValueError where there are none, or an image is not as published.
    """
    names, bits = read_packed(SMALL) if not folder else read_folder(Path(folder))
    side, block = REDUCED, SIDE // REDUCED
    ink = bits.reshape(-1, side, block, side, block).sum((2, 4), dtype=np.uint8)
    drawings = torch.from_numpy(ink * (255 / block**2)).round().to(torch.uint8)
    return Omniglot(
        drawings.view(len(names), DRAWERS, side, side),
        tuple(alphabet for _, alphabet, _ in names),
        tuple(part == EVALUATION for part, _, _ in names),
    )


def read_folder(folder: Path) -> tuple[list[Name], NDArray[np.bool_]]:
    """The sets in `folder`: names (C), and where ink is (C, DRAWERS, SIDE, SIDE).

    A character that stands in two sets counts once. Raises ValueError.
    """
    found: dict[tuple[str, str], dict[str, NDArray[np.bool_]]] = {}
    names: dict[tuple[str, str], Name] = {}
    for path, content in _images(folder):
        part, alphabet, character, file = path.split("/")[-4:]
        key = (alphabet, character)
        names.setdefault(key, (part, alphabet, character))
        found.setdefault(key, {})[file[-6:]] = _ink(path, content)
    if not found:
        raise ValueError(
            f"no Omniglot in {folder}: expected images_background, images_evaluation or the "
            "small sets there, as folders or zip files (github.com/brendenlake/omniglot)"
        )
    for key, drawn in found.items():
        if len(drawn) != DRAWERS:
            raise ValueError(f"expected {DRAWERS} drawings of {names[key]}, got {len(drawn)}")
    order = sorted(found)
    stacked = [np.stack([found[key][file] for file in sorted(found[key])]) for key in order]
    return [names[key] for key in order], np.stack(stacked)


def read_packed(file: Path) -> tuple[list[Name], NDArray[np.bool_]]:
    """The same out of what `write_packed` wrote. Raises ValueError where it is not there."""
    try:
        with np.load(file, allow_pickle=False) as content:
            names = [tuple(str(name).split("/")) for name in content["names"]]
            bits = np.unpackbits(content["bits"], axis=-1, count=SIDE)
    except (OSError, KeyError) as error:
        raise ValueError(f"{file} holds no drawings: {error}") from error
    return [(part, alphabet, name) for part, alphabet, name in names], bits.astype(np.bool_)


def write_packed(names: list[Name], bits: NDArray[np.bool_], file: Path) -> None:
    """Writes a bit a pixel, compressed: about 130 bytes a drawing."""
    told = np.array(["/".join(name) for name in names])
    np.savez_compressed(file, names=told, bits=np.packbits(bits, axis=-1))


def _images(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of each image of the sets in `folder`."""
    for path in sorted(folder.glob("images_*")):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = sorted(name for name in archive.namelist() if name.endswith(".png"))
                yield from ((name, archive.read(name)) for name in names)
        elif path.is_dir():
            for image in sorted(path.glob("*/*/*.png")):
                yield image.as_posix(), image.read_bytes()


def _ink(path: str, content: bytes) -> NDArray[np.bool_]:
    from PIL import Image  # only where images are read one by one

    image: Any = Image.open(io.BytesIO(content)).convert("1")
    if image.size != (SIDE, SIDE):
        raise ValueError(f"{path} should be {SIDE}x{SIDE}, got {image.size}")
    return ~np.asarray(image, dtype=np.bool_)


if __name__ == "__main__":
    write_packed(*read_folder(Path(sys.argv[1])), Path(sys.argv[2]))
