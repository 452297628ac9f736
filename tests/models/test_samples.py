"""Saving images: as they come, whole files or none, whatever stops it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unstir.errors import InputError
from unstir.models import samples as module
from unstir.models.samples import Samples, write

IMAGES = Samples(torch.linspace(-1, 1, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5), torch.tensor([1, 0]), ("a", "b"))


def several(count: int, labels: bool, shape: tuple[int, ...] = (3, 4, 5)) -> Samples:
    tensor = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Samples(tensor, torch.arange(count) % 3 if labels else None, ("a", "b c", "d") if labels else ())


def batches(whole: Samples, size: int) -> Iterator[Samples]:
    """The samples as ``draw`` yields them."""
    for first in range(0, len(whole), size):
        yield part(whole, range(first, min(first + size, len(whole))))


def part(whole: Samples, indices: range) -> Samples:
    rows = torch.tensor(list(indices))
    labels = None if whole.labels is None else whole.labels[rows]
    return Samples(whole.tensor[rows], labels, whole.classes, indices)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    pixels = IMAGES.bytes().permute(0, 2, 3, 1).numpy()
    with np.load(IMAGES.save(tmp_path / "new" / "x.npz")) as saved:
        np.testing.assert_array_equal(saved["arr_0"], pixels)
        np.testing.assert_array_equal(saved["arr_1"], [1, 0])
    IMAGES.save(f"{tmp_path}/x.d/")
    assert sorted(path.name for path in (tmp_path / "x.d").iterdir()) == ["0-b.png", "1-a.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.d" / "1-a.png")), pixels[1])
    grid = np.asarray(Image.open(IMAGES.save(tmp_path / "x.png")))
    np.testing.assert_array_equal(grid, np.asarray(IMAGES.grid()))


def test_a_pixel_is_the_nearest_byte() -> None:
    values = torch.tensor([-1.7, -1, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5, 0.001, 1 - 0.6 / 127.5, 1, 1.7])
    assert Samples(values.reshape(1, 1, 1, 8)).bytes().flatten().tolist() == [0, 0, 0, 1, 128, 254, 255, 255]


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("size", [1, 4, 11, 20])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 6, 2), (4, 3, 3)], ids=str)
def test_an_array_written_as_it_comes_is_numpys(
    labels: bool, size: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    whole = several(11, labels, shape)
    pixels = whole.bytes().permute(0, 2, 3, 1).numpy()
    numpys = [pixels] if whole.labels is None else [pixels, whole.labels.numpy()]
    np.savez(tmp_path / "numpy.npz", *numpys)
    assert write(batches(whole, size), tmp_path / "x.npz", 11) == tmp_path / "x.npz"
    with np.load(tmp_path / "numpy.npz") as expected, np.load(tmp_path / "x.npz") as found:
        assert found.files == expected.files
        for name in expected.files:
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("labels", [True, False])
def test_a_folder_written_as_it_comes_has_a_picture_for_each_index(labels: bool, tmp_path: Path) -> None:
    whole = several(11, labels)
    assert write(batches(whole, 4), f"{tmp_path}/x/", 11) == tmp_path / "x"
    names = [f"{i:02d}{'-' + ['a', 'b_c', 'd'][i % 3] if labels else ''}.png" for i in range(11)]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == names
    for name, image in zip(names, whole.bytes()):
        saved = np.asarray(Image.open(tmp_path / "x" / name))
        np.testing.assert_array_equal(saved, image.permute(1, 2, 0).numpy())
    write(batches(several(10, False), 4), tmp_path / "ten", 10)
    assert sorted(path.name for path in (tmp_path / "ten").iterdir()) == [f"{i}.png" for i in range(10)]


@pytest.mark.parametrize("labels", [True, False])
def test_a_grid_written_as_it_comes_is_that_of_all(labels: bool, tmp_path: Path) -> None:
    whole = several(11, labels)
    write(batches(whole, 4), tmp_path / "x.png", 11)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")), np.asarray(whole.grid()))


def test_a_grid_of_one_image_is_the_image() -> None:
    image = Samples(torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64))
    np.testing.assert_array_equal(np.asarray(image.grid()), np.asarray(image.picture(0)))


def test_a_grid_lies_in_rows_with_white_between() -> None:
    shades = torch.tensor([-1.0, -0.5, 0.5]).reshape(3, 1, 1, 1).expand(3, 1, 64, 64)
    found = np.asarray(Samples(shades).grid(columns=2))
    expected = np.full((2 * 66 + 2, 2 * 66 + 2), 255)
    for y, x, shade in ((2, 2, 0), (2, 68, 64), (68, 2, 191)):
        expected[y : y + 64, x : x + 64] = shade
    np.testing.assert_array_equal(found, expected)
    assert Samples(shades).grid(columns=0).size == Samples(shades).grid(columns=1).size == (68, 3 * 66 + 2)


def _rows(picture: Image.Image, count: int, side: int = 64) -> list[list[int]]:
    """Return which of ``count`` red images, of which i is (i + 1, 0, 0), lie in each row, from left to right."""
    pixels, places = np.asarray(picture).astype(int), dict[int, list[tuple[int, int]]]()
    for i in range(count):
        ys, xs = np.nonzero((pixels == (i + 1, 0, 0)).all(-1))
        assert len(ys) == side * side == (np.ptp(ys) + 1) * (np.ptp(xs) + 1)  # whole, and nothing over it
        places.setdefault(ys.min(), []).append((xs.min(), i))
    return [[i for _, i in sorted(row)] for _, row in sorted(places.items())]


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        ([0, 1, 2] * 3 + [0], [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]),
        ([0, 1] * 4 + [0], [[0, 2, 4], [6, 8], [1, 3, 5], [7]]),
        ([2, 0] * 3, [[0, 2, 4], [1, 3, 5]]),
        ([1, 1, 1, 1], [[0, 1], [2, 3]]),
        ([0, 0, 1, 1], [[0, 1], [2, 3]]),
        ([0, 1], [[0], [1]]),
    ],
)
def test_classes_in_turn_have_rows_of_their_own_with_their_names(labels: list[int], rows: list[list[int]]) -> None:
    tensor = -torch.ones(len(labels), 3, 16, 16)
    tensor[:, 0] += ((torch.arange(len(labels)) + 1) / 127.5).view(-1, 1, 1)
    grid = Samples(tensor, torch.tensor(labels), ("0", "Egyptian cat", "x" * 90)).grid()
    assert _rows(grid, len(labels)) == rows
    cells = max(map(len, rows)) * 66 + 2
    named = rows != [[0, 1], [2, 3]]
    assert (grid.width > cells) == named
    beside = np.asarray(grid.convert("L"))[:, : grid.width - cells]
    starts = [y + 2 for y in range(0, grid.height - 66, 66)] if len(rows) == len({*labels}) else []
    for y in starts if named else []:  # each row has writing beside it
        assert (beside[y : y + 64] < 100).any()


def test_in_a_grid_transparent_images_lie_on_a_ground_and_elsewhere_they_stay_so(tmp_path: Path) -> None:
    images = torch.full((2, 4, 64, 64), -1.0)
    images[1, :3] = 1
    images[:, 3, :, 32:] = 1  # their right halves are opaque, black and white
    samples = Samples(images)
    found = np.asarray(Image.open(samples.save(tmp_path / "x.png")))
    assert found.shape == (134, 68, 3)
    assert (found[2:66, 34:66] == 0).all() and (found[68:132, 34:66] == 255).all()
    assert (found[66:68] == 255).all() and (found[:, 66:] == 255).all()  # between and around them
    expected = np.where(np.add.outer(np.arange(134) // 8, np.arange(68) // 8) % 2, 204, 255)
    for rows in (slice(2, 66), slice(68, 132)):
        assert (found[rows, 2:34] == expected[rows, 2:34, None]).all()
    dark = np.asarray(samples.grid(ground="#000010"))
    assert (dark[2:66, 2:34] == [0, 0, 16]).all() and (dark[:2] == 255).all()
    folder = samples.save(f"{tmp_path}/x/")
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "1.png")), samples.bytes()[1].permute(1, 2, 0))


@pytest.mark.parametrize("name", ["x.npz", "x/"])
def test_no_more_than_one_batch_is_held(name: str, tmp_path: Path) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def stream() -> Iterator[Samples]:
        nonlocal most
        for first in range(0, 40, 4):
            # Whoever asks for the next batch still has the last in hand.
            most = max(most, sum(batch() is not None for batch in held))
            drawn = part(several(40, labels=True), range(first, first + 4))
            held.append(weakref.ref(drawn.tensor))
            yield drawn
            del drawn

    write(stream(), f"{tmp_path}/{name}", 40)
    assert len(held) == 10 and most == 1
    assert all(batch() is None for batch in held)


@pytest.mark.parametrize("name", ["x.npz", "x/"])
def test_what_has_come_is_written_before_more_is_asked_for(name: str, tmp_path: Path) -> None:
    def written() -> int:
        return sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())

    sizes: list[int] = []

    def stream() -> Iterator[Samples]:
        for batch in batches(several(8, False, (3, 256, 256)), 2):
            sizes.append(written())
            yield batch

    write(stream(), f"{tmp_path}/{name}", 8)
    steps = np.diff([*sizes, written()])
    assert sizes[0] == 0 and (steps > 0.9 * 2 * 3 * 256 * 256).all()  # noise does not compress


@pytest.mark.parametrize("name", ["x.npz", "x.png", "x/"])
def test_a_stream_that_breaks_off_leaves_no_half_file(name: str, tmp_path: Path) -> None:
    def broken() -> Iterator[Samples]:
        yield part(IMAGES, range(1))
        raise InputError("the disk of another machine is full")

    with pytest.raises(InputError, match="another machine"):
        write(broken(), f"{tmp_path}/{name}", 2)
    whole = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert whole == (["0-b.png"] if name == "x/" else [])


@pytest.mark.parametrize("name", ["x.npz", "x.png", "x/"])
def test_a_disk_that_fills_up_leaves_no_half_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(path: Path, *rest: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    class FullArchive(module.zipfile.ZipFile):  # type: ignore[name-defined, misc]
        def open(self, *where: object, **how: object) -> object:
            fill(Path(self.filename))

    monkeypatch.setattr(module.zipfile, "ZipFile", FullArchive)
    monkeypatch.setattr(Image.Image, "save", lambda image, path: fill(path))
    with pytest.raises(InputError, match="could not be written: No space left on device"):
        IMAGES.save(f"{tmp_path}/{name}")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["x.pgn", "x.psd", "x.txt"])  # .psd can be read only
def test_an_ending_of_no_picture_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no picture ends in"):
        IMAGES.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# Several parts together


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("count", [2, 3, 11])
def test_interleaved_shares_are_joined_in_order(labels: bool, count: int) -> None:
    whole = several(11, labels)
    shares = [part(whole, range(11)[rank::count]) for rank in reversed(range(count))]
    joined = Samples.joined(shares)
    assert torch.equal(joined.tensor, whole.tensor)
    assert list(joined.numbers) == list(range(11))
    assert joined.classes == whole.classes
    if whole.labels is None:
        assert joined.labels is None
    else:
        assert torch.equal(joined.labels, whole.labels)


def test_shares_of_a_middle_part_keep_their_indices() -> None:
    whole = several(11, labels=True)
    joined = Samples.joined([part(whole, range(5, 9, 2)), part(whole, range(4, 9, 2))])
    assert list(joined.numbers) == [4, 5, 6, 7, 8]
    assert torch.equal(joined.tensor, whole.tensor[4:9]) and torch.equal(joined.labels, whole.labels[4:9])


@pytest.mark.parametrize("write_as", [lambda path: f"{path}/x/", lambda path: path / "x.npz"])
def test_rounds_of_shares_are_written_as_the_whole(write_as: Callable[[Path], object], tmp_path: Path) -> None:
    whole = several(11, labels=True)
    streams = [iter(list(batches_of_share(whole, rank, 2, 2))) for rank in range(2)]
    rounds = iter(lambda: [given for given in (next(s, None) for s in streams) if given is not None], [])
    (tmp_path / "one").mkdir()
    write(map(Samples.joined, rounds), write_as(tmp_path), 11)  # type: ignore[arg-type]
    write(batches(whole, 4), write_as(tmp_path / "one"), 11)  # type: ignore[arg-type]
    expected = {path.name: path.read_bytes() for path in (tmp_path / "one").rglob("*.png")}
    if expected:
        assert {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()} == expected
    else:
        with np.load(tmp_path / "x.npz") as found, np.load(tmp_path / "one" / "x.npz") as one:
            for name in ("arr_0", "arr_1"):
                np.testing.assert_array_equal(found[name], one[name])


def batches_of_share(whole: Samples, rank: int, count: int, size: int) -> Iterator[Samples]:
    share = range(len(whole))[rank::count]
    for first in range(0, len(share), size):
        yield part(whole, share[first : first + size])


def test_classes_of_long_names_are_drawn_into_a_folder(tmp_path: Path) -> None:
    names = ("写" * 85, "é" * 127, "a" * 255, "b")
    samples = Samples(torch.zeros(4, 1, 2, 2), torch.arange(4), names)
    samples.save(f"{tmp_path}/x/")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        f"0-{'写' * 66}.png",
        f"1-{'é' * 100}.png",
        f"2-{'a' * 200}.png",
        "3-b.png",
    ]


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    samples = Samples(torch.zeros(3, 1, 2, 2))
    for name, others in {"x.png": "x-2.png", "x.npz": "x-2.npz", "x/": "x-2"}.items():
        for expected in (name, others):
            assert write([samples], f"{tmp_path}/{name}", 3, new=True) == tmp_path / expected
    assert len([*tmp_path.rglob("*.*")]) == 2 * (1 + 1 + 3)
