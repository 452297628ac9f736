"""What tells whether a folder holds this very run: what was asked, and the images themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from unstir.errors import InputError
from unstir.recipes import recipe
from unstir.recipes.request import Request
from unstir.training.config import Config
from unstir.training.run_folder import RunFolder
from unstir.training.start import check_out, check_same


def config(source: str, fingerprint: str = "one") -> Config:
    made = recipe("digits")(Request(data=source, images=8))
    assert isinstance(made, Config)
    return made.model_copy(update={"fingerprint": fingerprint})


def begun(folder: Path, source: str) -> None:
    """Make a run that has taken a step."""
    RunFolder(folder).write_config(config(source))
    RunFolder(folder).checkpoint(1).parent.mkdir()
    RunFolder(folder).checkpoint(1).touch()


@pytest.mark.parametrize("spelling", ["d", "d/", "./d", "/somewhere/d", "moved", "../x.npz", "digits"])
def test_the_same_images_are_the_same_run_however_their_place_is_written(spelling: str, tmp_path: Path) -> None:
    begun(tmp_path, "d")
    check_out(config(spelling), tmp_path)
    check_same(config(spelling), tmp_path)


@pytest.mark.parametrize(
    ("spelling", "says"), [("d", "those of 'd' have changed since"), ("e", "other images: those of 'd'; name")]
)
def test_other_images_are_another_run(spelling: str, says: str, tmp_path: Path) -> None:
    begun(tmp_path, "d")
    check_out(config(spelling), tmp_path)
    with pytest.raises(InputError, match=says):
        check_same(config(spelling, "two"), tmp_path)


def test_two_sets_that_are_known_by_name_differ_before_they_are_loaded(tmp_path: Path) -> None:
    begun(tmp_path, "digits")
    with pytest.raises(InputError, match=r"its data\.source is digits, not mnist"):
        check_out(config("mnist"), tmp_path)


def test_a_configuration_that_is_no_runs_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("database: production\n")
    with pytest.raises(InputError):
        check_out(config("digits"), tmp_path)


def test_a_run_without_a_step_binds_to_nothing(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_config(config("digits"))
    check_out(config("mnist"), tmp_path)
    check_same(config("mnist", "two"), tmp_path)
