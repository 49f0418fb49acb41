import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.omniglot import DRAWERS, REDUCED, SIDE, SMALL, load, read_folder, read_packed
from model.omniglot import write_packed as pack
from model.tasks import make_task

SHARED = Path(__file__).parents[3] / "shared" / "data" / "omniglot"
SIZES = {
    "Balinese": 24,
    "Early_Aramaic": 22,
    "Greek": 24,
    "Japanese_(katakana)": 47,
    "Korean": 40,
    "Latin": 26,
    "Sanskrit": 42,
    "Tagalog": 17,
}


def png(ink: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(~ink).convert("1").save(file, "PNG")
    return file.getvalue()


def drawing(character: int, drawer: int) -> np.ndarray:
    """Ink in one square of nine pixels, which tells character and drawer."""
    ink = np.zeros((SIDE, SIDE), np.bool_)
    ink[3 * character : 3 * character + 3, 3 * drawer : 3 * drawer + 3] = True
    return ink


def write_set(put: Callable[[str, bytes], object], name: str, alphabets: dict[str, int]) -> None:
    for place, (alphabet, count) in enumerate(alphabets.items()):
        for character in range(count):
            for drawer in range(DRAWERS):
                path = f"{name}/{alphabet}/character{character + 1:02}/{place:04}_{drawer + 1:02}"
                put(f"{path}.png", png(drawing(character, drawer)))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of the full sets: one as a folder, one as a zip file."""
    folder = tmp_path_factory.mktemp("omniglot")

    def put(name: str, content: bytes) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    write_set(put, "images_background", {"Elvish": 5, "Tagalog": 6})
    with zipfile.ZipFile(folder / "images_evaluation.zip", "w") as archive:
        write_set(archive.writestr, "images_evaluation", {"Klingon": 7})
    return folder


def test_the_repositorys_sets_are_eight_alphabets_of_242_characters() -> None:
    data = load("")
    assert data.drawings.shape == (242, DRAWERS, REDUCED, REDUCED)
    assert {name: data.alphabets.count(name) for name in data.alphabets} == SIZES
    assert not any(data.evaluation)
    ink = data.drawings.float().mean(dim=(2, 3)) / 255
    assert ink.min() > 0.01 and ink.max() < 0.4  # strokes on paper, in every drawing


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published files are not here")
def test_the_repositorys_file_is_the_published_one_bit_for_bit() -> None:
    names, bits = read_folder(SHARED)
    packed_names, packed = read_packed(SMALL)
    assert names == packed_names and np.array_equal(bits, packed)


def test_folders_and_zip_files_of_the_full_layout_are_read(full: Path) -> None:
    data = load(str(full))
    assert data.alphabets == ("Elvish",) * 5 + ("Klingon",) * 7 + ("Tagalog",) * 6
    assert data.evaluation == (False,) * 5 + (True,) * 7 + (False,) * 6
    for character, place in ((0, 0), (4, 4), (6, 11)):
        for drawer in range(DRAWERS):
            inked = data.drawings[place, drawer].nonzero().tolist()
            assert inked == [[character, drawer]]
            assert data.drawings[place, drawer, character, drawer] == 255


def test_the_datasets_own_split_decides_what_is_tested_where_it_has_one(full: Path) -> None:
    task = make_task("few-shot", data=str(full))
    rows = {"training": range(5), "validation": range(6), "test": range(7)}
    for split, characters in rows.items():
        data = load(str(full))
        part = task.drawn_for(split)._characters(data).tolist()  # pyright: ignore
        assert len(part) == len(characters)
        assert {data.evaluation[index] for index in part} == {split == "test"}


def test_a_packed_file_gives_back_what_was_packed(full: Path, tmp_path: Path) -> None:
    names, bits = read_folder(full)
    pack(names, bits, tmp_path / "packed.npz")
    again, same = read_packed(tmp_path / "packed.npz")
    assert again == names and np.array_equal(bits, same)


def test_a_folder_without_the_sets_is_refused_and_says_what_was_expected(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="no Omniglot in .*expected images_background"):
            load(str(folder))
    with pytest.raises(ValueError, match="holds no drawings"):
        read_packed(tmp_path / "nowhere.npz")


def test_drawings_of_another_size_or_number_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "images_background" / "Elvish" / "character01"
    folder.mkdir(parents=True)
    (folder / "0001_01.png").write_bytes(png(drawing(0, 0)))
    with pytest.raises(ValueError, match="expected 20 drawings of .*'Elvish'.*, got 1"):
        read_folder(tmp_path)
    (folder / "0001_02.png").write_bytes(png(np.zeros((9, 9), np.bool_)))
    with pytest.raises(ValueError, match="0001_02.png should be 105x105"):
        read_folder(tmp_path)
