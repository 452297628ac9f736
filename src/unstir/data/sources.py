"""Where images come from: a known name, a folder of images, a folder of parquet files, or an array file.

``find`` looks just far enough to say at once what is wrong with a source; nothing is decoded or fetched here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unstir.data.config import DataConfig
from unstir.data.folder import IMAGE_SUFFIXES, files_in, is_image, is_run, signature
from unstir.errors import InputError, counted, nearest

TABLE_SUFFIXES = (".parquet", "readme.md")
"""How the names of tables, and of what describes them, end."""


@dataclass(frozen=True)
class NamedSet:
    """A data set that has a name here.

    Attributes:
        about: one line for a reader.
        images: how many there are, for training and for testing.
        size: (C, H, W) of its images; None where they vary.
        licence: as its makers or its mirror give it.
        labelled: whether its images have classes.
        hub: its id on huggingface.co; None if there is nothing to fetch.
        classes: how many, where its images have classes.
        generated: whether it is made here, in any size, when it is asked for; if not, and with no id, bundled.
    """

    about: str
    images: tuple[int, int]
    size: tuple[int, int, int] | None
    licence: str
    labelled: bool
    hub: str | None
    classes: int = 10
    generated: bool = False


DATASETS: dict[str, NamedSet] = {
    "digits": NamedSet(
        "handwritten digits, bundled: nothing to fetch", (1437, 360), (1, 8, 8), "CC BY 4.0", True, None
    ),
    "shapes": NamedSet(
        "scenes of shapes with captions, made here: nothing to fetch; any data.size from 32 to 1024",
        (30_000, 3_000),
        (3, 64, 64),
        "MIT",
        True,
        None,
        classes=6,
        generated=True,
    ),
    "mnist": NamedSet("handwritten digits", (60_000, 10_000), (1, 28, 28), "CC BY-SA 3.0", True, "ylecun/mnist"),
    "fashion-mnist": NamedSet(
        "clothes, in ten kinds", (60_000, 10_000), (1, 28, 28), "MIT", True, "zalando-datasets/fashion_mnist"
    ),
    "cifar10": NamedSet(
        "photographs of ten kinds of things", (50_000, 10_000), (3, 32, 32), "none given", True, "uoft-cs/cifar10"
    ),
    "stl10": NamedSet(
        "photographs of ten kinds of things", (5_000, 8_000), (3, 96, 96), "none given", True, "tanganke/stl10"
    ),
    "church": NamedSet(
        "LSUN churches from outside; set data.size",
        (119_915, 6_312),
        None,
        "none given",
        False,
        "tglcourse/lsun_church_train",
    ),
    "cars": NamedSet(
        "Stanford cars, 196 models; set data.size",
        (8_144, 8_041),
        None,
        "research only",
        True,
        "tanganke/stanford_cars",
        196,
    ),
    "faces": NamedSet("FFHQ faces", (66_500, 3_500), (3, 256, 256), "CC BY-NC-SA 4.0", False, "merkol/ffhq-256"),
    "imagenet": NamedSet(
        "ImageNet (ILSVRC 2012), photographs of 1,000 kinds of things; set data.size",
        (1_281_167, 50_000),
        None,
        "research only",
        True,
        "benjamin-paine/imagenet-1k",
        1000,
    ),
}


@dataclass(frozen=True)
class Source:
    """A source that is there.

    Attributes:
        name: what to call it.
        kind: ``bundled``; ``generated``, made when it is asked for; ``hub``, fetched from huggingface.co;
            ``tables``, a folder of parquet files; ``images``, a folder of image files; ``array``, an
            ``.npy`` or ``.npz`` file.
        place: the id on the hub, or the absolute path.
        note: what was decided in finding it; empty if nothing was.
    """

    name: str
    kind: Literal["bundled", "generated", "hub", "tables", "images", "array"]
    place: str
    note: str = ""

    def identity(self) -> list[object]:
        """What tells this source's contents from another's: for files, where each is, its bytes and its time.

        For what is made, the version of what makes it.
        """
        base: list[object] = [self.kind, self.place]
        if self.kind == "generated":
            from unstir.data.shapes.contents import VERSION

            return [*base, VERSION]
        if self.kind == "array":
            status = os.stat(self.place)
            return [*base, status.st_size, status.st_mtime_ns]
        if self.kind == "tables":
            return base + [list(file) for file in signature(Path(self.place), TABLE_SUFFIXES)]
        if self.kind == "images":
            captions = (".txt", "metadata.jsonl", "metadata.csv")
            return base + [list(file) for file in signature(Path(self.place), IMAGE_SUFFIXES + captions)]
        return base


def find(source: str) -> Source:
    """Find a source by its name or path, in well under a second.

    Args:
        source: a name in `DATASETS`, or a path: a folder of image files, a folder of parquet files in the layout
            of an image data set on huggingface.co, or an ``.npy`` or ``.npz`` file.

    Raises:
        InputError: for an unknown name, and for a path where nothing is, that cannot be read or holds no image.
    """
    if source in DATASETS:
        known = DATASETS[source]
        note = (
            f"the set that is known by this name; the folder called so is ./{source}/"
            if os.path.isdir(source)
            else ""
        )
        kind: Literal["generated", "hub", "bundled"] = (
            "generated" if known.generated else "hub" if known.hub else "bundled"
        )
        return Source(source, kind, known.hub or source, note)
    try:
        path = Path(source).expanduser()
        path.stat()
    except PermissionError as error:
        raise InputError(
            f"'{source}' cannot be reached (permission denied); make its folder readable or give another."
        ) from error
    except (OSError, ValueError, RuntimeError) as error:  # not there, or nothing that a path could be
        raise InputError(_absent(source)) from error
    path = path.resolve()
    if path.is_dir():
        return Source(path.name or str(path), _folder_kind(source, path), str(path))
    if path.suffix in (".npy", ".npz"):
        _check_array(source, path)
        return Source(path.stem, "array", str(path))
    advice = "unpack it and give the folder" if path.suffix in (".zip", ".tar", ".gz", ".tgz") else "give a folder"
    raise InputError(f"'{source}' is a file, not a folder of images; {advice}.")


def check_count(source: str, images: int) -> None:
    """Check that there are images enough.

    Raises:
        InputError: for fewer than two.
    """
    if images < 2:
        raise InputError(
            f"'{source}' holds {counted(images, 'image')}; at least 2 are needed, one to train on and one to hold "
            "back."
        )


def source_of(config: DataConfig) -> Source:
    """Find the source of a configuration, and check what can be told at once of the shape that is asked for.

    Raises:
        InputError: as :func:`find`, and for a shape in which what is made here cannot be had.
    """
    source = find(config.source)
    if source.kind == "generated":
        from unstir.data.shapes.contents import check

        check(config)
    return source


def _absent(source: str) -> str:
    path = Path(os.path.expanduser(source))
    if any(mark in source for mark in ("/", os.sep)) or source.startswith((".", "~")):
        parent = path.parent
        if not parent.is_dir():
            return (
                f"there is no folder '{source}', nor '{parent}' to hold it; give the path of a folder of images."
            )
        beside = os.listdir(parent) if os.access(parent, os.R_OK) else []
        return f"there is no folder '{source}'{nearest(path.name, beside)}."
    known = ", ".join(DATASETS)
    return (
        f"no data set is called '{source}' and there is no such folder{nearest(source.lower(), list(DATASETS))} "
        f"(known: {known}; or give a folder of images)."
    )


def _folder_kind(source: str, folder: Path) -> Literal["tables", "images"]:
    """What the topmost images or tables beneath are; found as soon as one is met."""
    other: set[str] = set()
    for files in files_in(folder):
        names = [entry.name for _, entry in files]
        if any(name.lower().endswith(".parquet") and name != "metadata.parquet" for name in names):
            return "tables"
        if any(map(is_image, names)):
            return "images"
        other.update(names)
    if is_run(folder, os.listdir(folder)):
        raise InputError(
            f"the folder '{source}' is that of a run, not of images to train on; give a folder of images."
        )
    if not other:
        raise InputError(f"the folder '{source}' is empty; put images in it, or give another.")
    kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
    raise InputError(
        f"the folder '{source}' holds files such as '{min(other)}' but no image; images end in {kinds}."
    )


def _check_array(source: str, path: Path) -> None:
    """Read the heads of the arrays in a file, not their contents."""
    from unstir.data.array_file import IMAGES, heads

    if not path.is_file():
        raise InputError(f"'{source}' is no file; give an {path.suffix} saved with numpy.")
    head = heads(path).get(IMAGES)
    if head is None:
        raise InputError(
            f"'{source}' has no array called images; save it with np.savez(path, images=..., labels=...)."
        )
    shape = head.shape
    if head.dtype != "uint8" or len(shape) != 4 or 0 in shape:
        raise InputError(f"the images in '{source}' must be uint8 (N, C, H, W), not {head.dtype} {shape}.")
