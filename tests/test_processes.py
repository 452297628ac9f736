"""One process and several: what each gives, and that two draw and measure what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from unstir.data.config import DataConfig
from unstir.data.load import load as load_images
from unstir.evaluation.ruler import ruler
from unstir.processes import gathered, processes, rounds

# One


def test_one_process_is_alone() -> None:
    assert (processes().process_index, processes().num_processes) == (0, 1)
    value = object()
    assert gathered(value) == [value]
    assert gathered(None) == [None]


def test_the_rounds_of_one_process_are_its_stream() -> None:
    assert list(rounds(iter("abc"))) == [["a"], ["b"], ["c"]]
    assert list(rounds([])) == []
    assert list(rounds([0, False, ""])) == [[0], [False], [""]]  # none of these is an end


def test_rounds_ask_for_one_item_at_a_time_and_keep_none_but_the_last() -> None:
    class Thing:
        pass

    made: list[weakref.ref[Thing]] = []

    def stream() -> Iterator[Thing]:
        for _ in range(5):
            assert sum(thing() is not None for thing in made) <= 1
            thing = Thing()
            made.append(weakref.ref(thing))
            yield thing
            del thing

    for i, given in enumerate(rounds(stream()), start=1):
        assert len(made) == i
        del given
    assert len(made) == 5 and not any(thing() is not None for thing in made)


# Two

SCRIPT = """
import json
import sys
from pathlib import Path

import numpy as np

from unstir.cli.main import run
from unstir.data.dataset import ImageData, Splits
from unstir.evaluation.ruler import ruler
from unstir.tensors import tensors_hash
from unstir.processes import gathered, leave, processes, rounds

model, out = sys.argv[1], Path(sys.argv[2])
for command in json.loads(sys.argv[3]):
    assert run(command) == 0, command

rank, count = processes().process_index, processes().num_processes
# Streams of unequal lengths, those of the second process shorter or empty.
given = [list(rounds(f"{rank}{i}" for i in range(lengths[rank]))) for lengths in ((4, 2), (1, 0))]
pixels = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8)).astype(np.uint8)
small = ImageData.from_array(pixels, np.arange(60) % 2)
hashes = gathered(tensors_hash(ruler(Splits(small, small)).state_dict()))
found = {"count": count, "ranks": gathered(rank), "rounds": given, "hashes": hashes}
(out / f"rank-{rank}.json").write_text(json.dumps(found))
leave(0)
"""


@pytest.fixture(scope="module")
def model(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny run of the digits by label, whose ruler is in the cache."""
    from unstir.cli.main import run

    out = tmp_path_factory.mktemp("run") / "digits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSTIR_CACHE", str(own_cache))
        assert run(["train", "digits", "--smoke", "--set", "precision=float32", "--out", str(out)]) == 0
        ruler(load_images(DataConfig(source="digits")))
        yield out


def commands(model: Path, out: Path, count: int) -> list[list[str]]:
    how = ["--seed", "3", "--batch", "4", "--steps", "5"]
    drawn = ["sample", str(model), "-n", str(count), *how, "--out"]
    measured = ["evaluate", str(model), "-n", str(count), *how]
    return [[*drawn, f"{out}/folder/"], [*drawn, f"{out}/x.npz"], [*drawn, f"{out}/x.png"], measured]


def figures(model: Path) -> list[dict[str, object]]:
    """What has been measured of a run, the first first."""
    files = sorted((model / "evaluations").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text()) for path in files]


@pytest.mark.slow
def test_two_processes_draw_and_measure_what_one_does(model: Path, tmp_path: Path) -> None:
    one, two, script = tmp_path / "one", tmp_path / "two", tmp_path / "script.py"
    script.write_text(SCRIPT)
    for out, launch in (
        (one, []),
        (two, ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]),
    ):
        out.mkdir()
        done = subprocess.run(
            [sys.executable, *launch, str(script), str(model), str(out), json.dumps(commands(model, out, 37))],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        # Only the first process speaks, and it says where each result is once.
        assert done.stdout.count("37 images are in") == 3 and done.stdout.count("The figures are in") == 1
    names = [sorted(path.name for path in (out / "folder").iterdir()) for out in (one, two)]
    assert names[0] == names[1] == [f"{i:02d}-{i % 10}.png" for i in range(37)]
    for name in [*(f"folder/{name}" for name in names[0]), "x.png"]:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    with np.load(one / "x.npz") as left, np.load(two / "x.npz") as right:
        assert left["arr_0"].std() > 10 and len({image.tobytes() for image in left["arr_0"]}) == 37
        for name in ("arr_0", "arr_1"):
            np.testing.assert_array_equal(left[name], right[name])
    left, right = figures(model)
    assert left["samples"] == right["samples"] == 37
    for name, value in left.items():
        if name != "saved":
            assert right[name] == (pytest.approx(value, rel=1e-7) if isinstance(value, float) else value), name
    ranks = [json.loads((two / f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    assert (ranks[0]["count"], ranks[0]["ranks"]) == (2, [0, 1])
    assert ranks[0]["rounds"] == [[["00", "10"], ["01", "11"], ["02"], ["03"]], [["00"]]]
    assert len(set(ranks[0]["hashes"])) == 1  # one classifier for both
