from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import driver
import rivals as _known  # noqa: F401
from driver import metrics, tensors

from unstir.config import checked
from unstir.data.config import DataConfig
from unstir.data.dataset import Splits
from unstir.data.load import load
from unstir.training.config import Config
from unstir.training.learner import Learner
from unstir.training.settings import apply_settings
from unstir.training.start import with_data


@pytest.fixture(scope="session", autouse=True)
def cache(own_cache: Path) -> Any:
    """One cache folder for the tests here, which all read the bundled digits; child processes inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSTIR_CACHE", str(own_cache))
        yield


@pytest.fixture(scope="session")
def digits(cache: None) -> Splits:
    return load(DataConfig(source="digits"))


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """Return the driver's configuration under ``key=value`` texts, as it is asked for."""

    def make(*settings: str) -> Config:
        return apply_settings(checked(Config, driver.BASE), settings)

    return make


@pytest.fixture(scope="session")
def make_learner(digits: Splits) -> Callable[..., Learner]:
    """Return what learns the digits under a configuration as it is asked for."""

    def make(config: Config) -> Learner:
        return Learner(with_data(config, digits.train, Path()), digits)

    return make


@pytest.fixture(scope="session")
def spawn(cache: None) -> Callable[..., BaseProcess]:
    """Start ``driver.child`` in a process of its own, forked from a server that has imported torch."""
    context = multiprocessing.get_context("forkserver")
    heavy = ["torch._dynamo", "torch.utils.tensorboard", "torchvision.utils", "sklearn.datasets"]
    context.set_forkserver_preload(["unstir.training.loop", "unstir.data.load", "unstir.data.arrays", *heavy])

    def start(*args: Any, **options: Any) -> BaseProcess:
        process = context.Process(target=driver.child, args=args, kwargs=options)
        process.start()
        return process

    return start


@pytest.fixture(scope="session")
def finish(spawn: Callable[..., BaseProcess]) -> Callable[..., int]:
    """Run ``driver.child`` to its end and return its exit code."""

    def run(*args: Any, **options: Any) -> int:
        process = spawn(*args, **options)
        process.join(120)
        assert process.exitcode is not None
        return process.exitcode

    return run


@pytest.fixture(scope="session")
def same_run() -> Callable[..., None]:
    """Check that two run folders hold bit for bit the same run, its pictures along the way included."""

    def check(a: Path, b: Path, pictures: bool = True) -> None:
        newest = [sorted((out / "checkpoints").glob("step-*"))[-1] for out in (a, b)]
        assert newest[0].name == newest[1].name
        for one, other in ((newest[0], newest[1]), (a / "model.safetensors", b / "model.safetensors")):
            left, right = tensors(one), tensors(other)
            assert left.keys() == right.keys()
            different = [key for key in left if not torch.equal(left[key], right[key])]
            assert not different
        timed = ("images_per_second", "seconds")
        logs = [[{k: v for k, v in m.items() if k not in timed} for m in metrics(out)] for out in (a, b)]
        assert logs[0] == logs[1]
        every = {key for line in logs[0] for key in line}
        assert {"step", "images", "learning_rate"} < every
        assert any(key.startswith("validation_") for key in every)
        assert not list(a.rglob("*partial*")) + list(b.rglob("*partial*"))
        names = [sorted(p.name for p in (out / "samples").glob("*"))[0 if pictures else -1 :] for out in (a, b)]
        assert names[0] == names[1]
        for name in names[0]:
            assert (a / "samples" / name).read_bytes() == (b / "samples" / name).read_bytes()

    return check
