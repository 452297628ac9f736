from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from unstir.data.config import DataConfig


def test_a_size_may_be_one_number_or_a_list() -> None:
    assert DataConfig(source="x", size=64).size == (64, 64)  # type: ignore[arg-type]
    assert DataConfig(source="x", size=[32, 48]).size == (32, 48)  # type: ignore[arg-type]
    assert DataConfig(source=Path("a") / "b").source == str(Path("a/b"))  # type: ignore[arg-type]


def test_it_survives_being_stored() -> None:
    config = DataConfig(source="digits", size=(8, 16), channels=3, fit="pad", ground="#0aB1c2", flip=True)
    assert DataConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0}, {"size": (4, -1)}, {"size": (4, 4, 4)}, {"size": True}, {"channels": 2}, {"corrupt_limit": -1},
     {"source": ""}, {"sizes": 3}, {"ground": "red"}, {"ground": "#fff"}, {"ground": "#12345g"}, {"ground": None},
     {"fit": "stretch"}],
)  # fmt: skip
def test_wrong_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DataConfig.model_validate({"source": "digits"} | wrong)
