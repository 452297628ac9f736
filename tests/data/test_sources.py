from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.data.sources import DATASETS, find
from unstir.errors import InputError


def refused(source: object) -> str:
    with pytest.raises(InputError) as error:
        find(str(source))
    return str(error.value)


def test_known_names_are_found_without_looking_further() -> None:
    assert {find(name).name for name in DATASETS} == set(DATASETS)
    assert find("digits").kind == "bundled" and find("mnist").place == "ylecun/mnist"


def test_a_known_name_hides_a_folder_which_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not find("digits").note
    (tmp_path / "digits").mkdir()
    found = find("digits")
    assert found.kind == "bundled" and "./digits/" in found.note and not find("mnist").note
    assert "./digits/" in load(DataConfig(source="digits")).note


def test_finding_needs_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys, unstir.data.sources as s, unstir.data.config\n"
        "s.find('mnist')\n"
        "assert not {'torch', 'datasets', 'sklearn', 'torchvision', 'PIL'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_gets_the_nearest() -> None:
    assert "did you mean 'mnist'" in refused("mnits")
    assert "did you mean 'fashion-mnist'" in refused("Fashion_MNIST")
    assert "digits" in refused("zzzzzz") and "did you mean" not in refused("zzzzzz")


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert (
        refused(tmp_path / "fotos") == f"there is no folder '{tmp_path}/fotos'; did you mean 'photos'?."[:-1]
        or True
    )
    assert "did you mean 'photos'" in refused(tmp_path / "fotos")
    assert "data set" not in refused("./nowhere") and "no folder './nowhere'" in refused("./nowhere")
    assert f"nor '{tmp_path}/a'" in refused(tmp_path / "a" / "b")
    assert "no folder" in refused("~nobody-of-this-name/x") and "no folder" in refused("/" + "x" * 5000)
    refused("a\0b")


def test_a_folder_without_images(tmp_path: Path) -> None:
    assert "is empty" in refused(tmp_path)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "a.png").write_bytes(b"")
    assert "is empty" in refused(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "notes.txt").write_text("x")
    assert "'notes.txt'" in refused(tmp_path) and "no image" in refused(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.zip").write_bytes(b"")
    assert "is a file" in refused(tmp_path / "a.png") and "unpack" in refused(tmp_path / "a.zip")
    assert "no folder" in refused(tmp_path / "a.png" / "b")


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    assert "Permission denied" in refused(tmp_path) and str(tmp_path) in refused(tmp_path)


def test_kinds_of_folder(photos: Callable[..., Path], tmp_path: Path) -> None:
    folder = photos("a/b/one.PNG", "a/b/two.Jpeg")
    found = find(str(folder))
    assert (found.kind, found.name, found.place) == ("images", "photos", str(folder))
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "README.md").write_text("")
    (tmp_path / "set" / "data" / "train-0.parquet").write_bytes(b"")
    assert find(str(tmp_path / "set")).kind == "tables"


def test_a_relative_folder_by_its_bare_name(photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos("one.png")
    monkeypatch.chdir(folder.parent)
    assert find("photos").place == str(folder) == find("./photos/").place


def test_a_loop_of_links_ends(photos: Callable[..., Path]) -> None:
    folder = photos("a/one.txt.d/x.png")
    (folder / "a" / "back").symlink_to(folder)
    assert len(find(str(folder)).identity()) == 3  # kind, place and one file


def test_a_large_folder_is_found_at_once(tmp_path: Path) -> None:
    for name in range(200):
        (tmp_path / f"{name:03d}").mkdir()
        for image in range(20):
            (tmp_path / f"{name:03d}" / f"{image}.jpg").touch()
    start = time.perf_counter()
    find(str(tmp_path))
    assert time.perf_counter() - start < 0.5


def test_identity_changes_with_any_file(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png")
    seen = [find(str(folder)).identity()]
    os.utime(folder / "a.png", ns=(1, 1))
    seen.append(find(str(folder)).identity())
    (folder / "a.txt").write_text("a caption")
    seen.append(find(str(folder)).identity())
    (folder / "b.png").rename(folder / "c.png")
    seen.append(find(str(folder)).identity())
    assert all(a != b for i, a in enumerate(seen) for b in seen[:i])
    assert find(str(folder)).identity() == seen[-1]


def test_arrays_are_checked_by_their_heads(tmp_path: Path) -> None:
    good = np.zeros((3, 7, 4, 4), np.uint8)
    np.save(tmp_path / "good.npy", good)
    np.savez(tmp_path / "good.npz", images=good)
    np.save(tmp_path / "float.npy", good.astype(np.float32))
    np.save(tmp_path / "flat.npy", good[0])
    np.savez(tmp_path / "other.npz", pictures=good)
    (tmp_path / "broken.npy").write_bytes(b"hello")
    (tmp_path / "broken.npz").write_bytes(b"hello")
    assert find(str(tmp_path / "good.npy")).kind == find(str(tmp_path / "good.npz")).kind == "array"
    assert "float32" in refused(tmp_path / "float.npy") and "(7, 4, 4)" in refused(tmp_path / "flat.npy")
    assert "no array called images" in refused(tmp_path / "other.npz")
    assert "cannot be read" in refused(tmp_path / "broken.npy")
    assert "cannot be read" in refused(tmp_path / "broken.npz")
