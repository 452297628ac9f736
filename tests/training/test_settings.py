from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import driver
import pytest
import yaml

from unstir.errors import InputError
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.training.config import Config, ScheduleConfig
from unstir.training.settings import apply_settings, checked

OTHER: dict[str, Any] = {
    "data.size": [20, 36],
    "data.channels": 4,
    "diffusion.schedule.name": "quadratic",
    "diffusion.schedule.steps": 1001,
    "diffusion.parameterization": "karras",
    "diffusion.objective": "p2",
    "diffusion.times": "importance",
    "diffusion.corruption": "masking",
    "training.precision": "bf16",
    "sampling.sampler": "ddpm",
    "sampling.spacing": "karras",
    "sampling.variance": "large",
    "sampling.order": 2,
    "sampling.schedule": "flow",
    "sampling.epsilon": 0.5,
    "sampling.predictor": "ancestral",
    "sampling.clip": "dynamic",
    "network.embedding": 64,
}


OF_A_SCHEDULE: dict[str, tuple[str, float]] = {
    "beta_start": ("linear", 1e-3),
    "beta_end": ("linear", 0.03),
    "beta_min": ("vp", 0.2),
    "beta_max": ("vp", 10.0),
    "sigma_min": ("ve", 0.02),
    "sigma_max": ("ladder", 40.0),
    "s": ("cosine", 0.01),
    "max_beta": ("cosine", 0.99),
    "amount": ("single", 0.3),
}
"""Values that only some schedules take."""


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" not in ("images", "recipe", "note", "network.kind"):
            yield f"{prefix}{key}", value


def _another(key: str, value: Any) -> Any:
    """Return a valid value for ``key`` that is not its own."""
    if key == "network.norm" and isinstance(value, str):
        return {"group": "layer", "layer": "group"}[value]
    if key == "training.optimizer":
        return {"adamw": "muon", "muon": "adamw"}[value]
    if key == "network.attention":
        return ["full"] * (len(value) - 1) + ["linear"]
    if key in OTHER:
        return OTHER[key] if OTHER[key] != value else ("ddim" if key == "sampling.sampler" else "small")
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    if isinstance(value, (tuple, list)):
        return [16 * (i + 1) for i in range(len(value))]
    return "other" if isinstance(value, str) else 77


def _config(name: str) -> Config:
    return RECIPES[name](Request(data="digits" if name == "images" else None, images=1000))


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "images"])
def test_every_setting_of_every_recipe_can_be_set(name: str) -> None:
    config = _config(name)
    leaves = dict(_leaves(config.model_dump(mode="json")))
    schedule = {key for key in leaves if key.startswith("diffusion.schedule.")}
    for key, value in leaves.items():
        last = key.rpartition(".")[2]
        if key in schedule and (last in OF_A_SCHEDULE or (name, last) == ("mnist-dae", "steps")):
            continue
        if key == "diffusion.times" and name == "mnist-dae":  # which has no grid
            continue
        if key == "diffusion.corruption" and name != "mnist-dae":
            continue
        if key in ("diffusion.variance", "diffusion.schedule.learned"):  # which need certain objectives
            continue
        if key == "diffusion.objective" and name == "mnist-hybrid":
            continue
        wanted = _another(key, value)
        changed = apply_settings(config, [f"{key}={json.dumps(wanted)}"])  # JSON is YAML
        after = dict(_leaves(changed.model_dump(mode="json")))
        assert after[key] == wanted, key
        others = {k for k, v in leaves.items() if k != key and after[k] != v}
        also = {"training.seconds": {"training.images"}, "diffusion.schedule.name": schedule}
        assert others <= also.get(key, set()), key


@pytest.mark.parametrize("key", OF_A_SCHEDULE)
def test_a_schedule_takes_its_own_values(key: str) -> None:
    name, value = OF_A_SCHEDULE[key]
    settings = [f"diffusion.schedule.{key}={value}", f"diffusion.schedule.name={name}"]
    schedule = apply_settings(checked(driver.BASE), settings).diffusion.schedule
    assert schedule.options() == {key: value}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("training.bach=3", "training.batch"),
        ("training.learningrate=3", "training.learning_rate"),
        ("network.chanels=3", "network.channels"),
        ("sampling.step=3", "sampling.steps"),
        ("diffusion.schedule.step=3", "diffusion.schedule.steps"),
        ("sed=3", "seed"),
    ],
)
def test_a_misspelt_key_is_told_the_right_one(wrong: str, right: str) -> None:
    with pytest.raises(InputError, match=f"No setting is called '{wrong.split('=')[0]}'; did you mean '{right}'"):
        apply_settings(checked(driver.BASE), [wrong])


@pytest.mark.parametrize(
    "text",
    [
        "training.batch=many",
        "training.batch=1.5",
        "training.batch=0",
        "training.learning_rate=-1",
        "training.learning_rate=nan",
        "training.learning_rate=.inf",
        "training.ema=1.5",
        "data.flip=7",
        "data.channels=2",
        "network.channels=wide",
        "network.channels=[8, -8]",
        "network.attention=[full, some]",
        "seed=-1",
        "sampling.sampler=magic",
        "network.patch=[",
    ],
)
def test_a_wrong_value_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match=text.split("=")[0]):
        apply_settings(checked(driver.BASE), [text])


@pytest.mark.parametrize(
    "text", ["images=5", "recipe=x", "note=x", "training", "training=5", "network.kind.x=1", "=1"]
)
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        apply_settings(checked(driver.BASE), [text])


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1E-4", 1e-4), ("0.0001", 1e-4), ("1.0e-4", 1e-4), ("3", 3.0)]
)
def test_numbers_as_people_write_them(text: str, value: float) -> None:
    config = apply_settings(checked(driver.BASE), [f"training.learning_rate={text}"])
    assert config.training.learning_rate == value


def test_values_that_only_fit_each_other_are_set_together() -> None:
    settings = ["network.channels=[8, 16, 16]", "network.attention=[none, none, full]"]
    for order in (settings, settings[::-1]):
        network = apply_settings(checked(driver.BASE), order).network
        assert network.channels == (8, 16, 16)  # type: ignore[union-attr]
        assert network.attention == ("none", "none", "full")  # type: ignore[union-attr]
    with pytest.raises(InputError, match="attention names 2 levels and channels 3"):
        apply_settings(checked(driver.BASE), settings[:1])


def test_a_corruption_needs_one_level_and_an_answer_in_pixels() -> None:
    masking = ["diffusion.corruption=masking", "diffusion.schedule.name=single"]
    answer = ["diffusion.parameterization=x0", "diffusion.objective=x0"]
    assert apply_settings(checked(driver.BASE), masking + answer).diffusion.one_level
    for left_out in range(4):
        settings = (masking + answer)[:left_out] + (masking + answer)[left_out + 1 :]
        if left_out:
            with pytest.raises(InputError, match="masking needs the schedule single, and x0"):
                apply_settings(checked(driver.BASE), settings)
    apply_settings(checked(driver.BASE), ["diffusion.schedule.name=single", "diffusion.schedule.amount=1.5"])
    with pytest.raises(InputError, match="share of pixels"):
        apply_settings(checked(driver.BASE), [*masking, *answer, "diffusion.schedule.amount=1.5"])


def test_quotes_keep_a_text_a_text() -> None:
    assert apply_settings(checked(driver.BASE), ["data.source='1e5'"]).data.source == "1e5"


def test_another_kind_of_network_starts_at_its_defaults_whatever_the_order() -> None:
    settings = ["network.widths=[32, 16]", "network.kind=fully_connected"]
    for order in (settings, settings[::-1]):
        network = apply_settings(checked(driver.BASE), order).network
        assert network.model_dump() == {"kind": "fully_connected", "widths": (32, 16), "time": True, "norm": True}
    with pytest.raises(InputError, match=r"network\.blocks"):
        apply_settings(checked(driver.BASE), ["network.kind=plain", "network.blocks=2"])
    with pytest.raises(InputError, match="nosuch"):
        apply_settings(checked(driver.BASE), ["network.kind=nosuch"])


def test_another_schedule_starts_at_its_defaults_whatever_the_order() -> None:
    settings = ["diffusion.schedule.beta_end=0.03", "diffusion.schedule.name=linear"]
    for order in (settings, settings[::-1]):
        schedule = apply_settings(_config("mnist-ncsn"), order).diffusion.schedule
        assert schedule == ScheduleConfig(name="linear", beta_end=0.03)


def test_one_budget_replaces_the_other() -> None:
    training = apply_settings(checked(driver.BASE), ["training.seconds=60"]).training
    assert (training.images, training.seconds) == (None, 60)
    training = apply_settings(checked(driver.BASE), ["training.seconds=60", "training.images=10"]).training
    assert (training.images, training.seconds) == (10, None)
    training = apply_settings(checked(driver.BASE), ["training.seconds=60", "training.images=null"]).training
    assert (training.images, training.seconds) == (None, 60)
    with pytest.raises(InputError, match="a run has a budget in images or in seconds, one of the two"):
        apply_settings(checked(driver.BASE), ["training.images=null"])
    with pytest.raises(InputError, match="one of the two"):
        checked({**driver.BASE, "training": {"images": 10, "seconds": 60}})


def test_a_configuration_survives_its_file() -> None:
    for name in RECIPES:
        if name != "images":
            config = _config(name)
            assert checked(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("objective=hybrid", "the objective hybrid needs variance=learned"),
        ("variance=learned", "variance=learned needs the objective hybrid or bound"),
        ("schedule.name=flow objective=bound", "the objective bound needs a discrete schedule"),
        ("schedule.name=vp objective=variational", "the objective variational needs a discrete schedule"),
        ("schedule.name=vp times=importance", "the times importance need a discrete schedule"),
        ("objective=bound times=log_normal", "needs the times uniform or importance"),
        ("schedule.learned=true", "schedule.learned needs the objective bound"),
        ("schedule.learned=true schedule.name=ve", "ve has no betas that could be learned"),
        ("objective=v", "the objective v does not train a network that predicts eps"),
        ("parameterization=score objective=x0", "the objective x0 does not train a network that predicts score"),
        ("objective=dual", "the objective dual needs the parameterization dual"),
    ],
)
def test_parts_of_diffusion_that_do_not_fit_are_told(settings: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        apply_settings(checked(driver.BASE), [f"diffusion.{text}" for text in settings.split()])


def test_the_networks_outputs_follow_what_it_must_tell() -> None:
    for settings, outputs in (
        ((), 1),
        (("diffusion.objective=hybrid", "diffusion.variance=learned"), 2),
        (("diffusion.parameterization=dual",), 3),
        (("diffusion.parameterization=dual", "diffusion.objective=bound", "diffusion.variance=learned"), 4),
    ):
        assert apply_settings(checked(driver.BASE), settings).diffusion.outputs == outputs
