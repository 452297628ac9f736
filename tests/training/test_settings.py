from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import driver
import pytest
import yaml

from unstir.config import checked
from unstir.diffusion.config import ScheduleConfig
from unstir.errors import InputError
from unstir.models.config import systems
from unstir.networks.config import networks
from unstir.networks.told import Told
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.sampling.config import DDIMConfig, DDPMConfig, HeunConfig, samplers
from unstir.training.config import Config
from unstir.training.plan import Plan
from unstir.training.settings import apply_settings

BASE = checked(Config, driver.BASE)

OTHER: dict[str, Any] = {
    "data.size": [20, 36],
    "data.channels": 4,
    "data.fit": "pad",
    "data.ground": "black",
    "training.betas": [0.8, 0.95],
    "model.precision": "bf16",
    "model.told.label.socket": "image",
    "model.told.seen.socket": "tokens",
    "model.told.caption.socket": "image",
    "model.told.degraded.socket": "image",
    "model.told.degraded.column": "kind",
    "model.told.task.socket": "tokens",
    "model.told.task.column": "kind",
    "model.network.heads": 2,
    "model.perceptual.network": "lpips",
    "data.degradations": ["jpeg"],
    "model.told.gist.socket": "tokens",
    "model.told.label.column": "kind",
    "model.told.caption.column": "text",
    "model.sampling.sampler.epsilon": 0.5,
    "model.diffusion.schedule.steps": 1001,
    "model.diffusion.parameterization": "karras",
    "model.diffusion.objective": "p2",
    "model.diffusion.times": "importance",
    "model.diffusion.corruption": "masking",
    "model.sampling.spacing": "karras",
    "model.sampling.schedule": "flow",
    "model.sampling.clip": "dynamic",
    "model.sampling.sampler.variance": "large",
    "model.sampling.sampler.predictor": "ancestral",
    "model.network.embedding": 64,
}

NAMED = ("model.kind", "model.network.kind", "model.regularization.kind", "model.sampling.sampler.name")
"""What names one of several kinds, whose other settings then start at their defaults."""

FACTS = ("kind", "classes", "width", "length", "mean", "std", "hash", "of")
"""What the data or a part turns out to be, and kinds of what is told."""


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
        if f"{prefix}{key}" in ("recipe", "note", "start", "fingerprint", "model.samples", "model.parts"):
            continue
        if prefix.startswith("model.told.") and key in FACTS:
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" not in NAMED:
            yield f"{prefix}{key}", value


def _another(key: str, value: Any) -> Any:
    """Return a valid value for ``key`` that is not its own."""
    if key.endswith(".norm") and isinstance(value, str):
        return {"group": "layer", "layer": "group"}[value]
    if key == "training.optimizer":
        return {"adamw": "muon", "muon": "adamw"}[value]
    if key.endswith("schedule.name"):
        return "quadratic" if value != "quadratic" else "sigmoid"
    if key == "model.network.width":
        return value + 8
    if key == "model.network.attention" and isinstance(value, bool):
        return not value
    if key == "model.network.attention" and isinstance(value[0], bool):
        return [not level for level in value]
    if key == "model.network.attention":
        return ["full"] * (len(value) - 1) + ["linear"]
    if key in OTHER:
        return OTHER[key] if OTHER[key] != value else {"image": "vector", "lpips": "none"}.get(value, "small")
    if isinstance(value, bool):
        return not value
    if key == "model.network.channels" and isinstance(value, int):
        return 2 * value  # which its heads divide
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    if isinstance(value, (tuple, list)):
        return [16 * (i + 1) for i in range(len(value))]
    return "other" if isinstance(value, str) else 77


def _config(name: str) -> Config:
    own = "digits" if name.startswith(("images", "emoji")) else None  # of which the user names a folder
    made = RECIPES[name](Request(data=own, images=1000))
    return [*made.stages.values()][-1] if isinstance(made, Plan) else made


def _alters(name: str) -> bool:
    """Whether a recipe's images can be altered, of which its model is told."""
    config = _config(name)
    return "predict" in config.model.verbs and not config.data.degradations


HYBRID = ("mnist-hybrid", *(name for name in RECIPES if name.startswith("imagenet")))
"""Whose learned variance only some objectives teach."""


def _optional(key: str, name: str) -> bool:
    """Whether a key is for some configurations only, and has a test of its own."""
    last = key.rpartition(".")[2]
    if key.startswith(("model.diffusion.schedule.", "model.schedule.")):
        return last == "learned" or last in OF_A_SCHEDULE or (name, last) == ("mnist-dae", "steps")
    return (
        key == "model.diffusion.variance"
        or (key == "model.told.label.socket" and name in ("mnist-vae", "mnist-gan"))
        or (last == "encoder" and key.split(".")[2] not in ("caption", "gist"))  # only of texts
        or key == "model.told.seen.column"
        or (key, name) == ("data.channels", "palette")  # colours are three
        or (key, name) == ("model.diffusion.times", "mnist-dae")  # which has no grid
        or (key == "model.diffusion.corruption" and name != "mnist-dae")
        or (key == "data.augment" and not _alters(name))
        or (key, name) == ("data.degradations", "images")  # which alters its images
        or (key == "model.diffusion.objective" and name in HYBRID)
        or (key == "model.sampling.sampler.variance" and name == "mnist-hybrid")
    )


@pytest.mark.parametrize("whole", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_of_every_recipe_can_be_set(name: str, whole: bool) -> None:
    """With or without the ``model.`` before it; nothing else changes."""
    config = _config(name)
    leaves = dict(_leaves(config.model_dump(mode="json", exclude={"begun"})))
    schedule = {key for key in leaves if key.startswith("model.diffusion.schedule.")}
    assert len(leaves) > 25
    for key, value in leaves.items():
        if _optional(key, name):
            continue
        wanted = _another(key, value)
        asked = key if whole else key.removeprefix("model.")
        changed = apply_settings(config, [f"{asked}={json.dumps(wanted)}"])  # JSON is YAML
        after = dict(_leaves(changed.model_dump(mode="json")))
        assert after[key] == wanted, key
        others = {k for k, v in leaves.items() if k != key and after[k] != v}
        also = {"training.seconds": {"training.images"}, "model.diffusion.schedule.name": schedule}
        assert others <= also.get(key, set()), key


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("short", [True, False])
def test_another_kind_or_name_resets_its_part_and_nothing_else(whole: bool, short: bool) -> None:
    config = apply_settings(BASE, ["sampling.sampler.eta=0.5", "sampling.steps=7", "network.blocks=3"])
    for part, naming, name, made in (
        ("model.network", "kind", "refinenet", networks["refinenet"]()),
        ("model.network", "kind", "unet", networks["unet"]()),
        ("model.sampling.sampler", "name", "heun", samplers["heun"]()),
        ("model.sampling.sampler", "name", "ddim", samplers["ddim"]()),
        ("model.diffusion.schedule", "name", "flow", ScheduleConfig(name="flow")),
        ("model", "kind", "classifier", systems["classifier"]()),
        ("model", "kind", "denoiser", systems["denoiser"]()),
    ):
        key = part if short else f"{part}.{naming}"
        changed = apply_settings(config, [f"{key if whole else key.removeprefix('model.')}={name}"])
        expected = config.model_dump()
        holder = expected
        *path, last = part.split(".")
        for step in path:
            holder = holder[step]
        assert holder[last] != made.model_dump() or name == "denoiser"
        holder[last] = made.model_dump()
        assert changed.model_dump() == expected


@pytest.mark.parametrize("key", OF_A_SCHEDULE)
def test_a_schedule_takes_its_own_values(key: str) -> None:
    name, value = OF_A_SCHEDULE[key]
    settings = [f"diffusion.schedule.{key}={value}", f"diffusion.schedule.name={name}"]
    schedule = apply_settings(BASE, settings).model.diffusion.schedule  # type: ignore[attr-defined]
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
        ("precison=bf16", "precision"),
        ("told.lable.dropout=0.2", "told.label.dropout"),
        ("told.label.dropuot=0.2", "told.label.dropout"),
        ("tolld={}", "told"),
        ("sampling.sampler.etta=0.2", "sampling.sampler.eta"),
        ("model.network.chanels=3", "network.channels"),
    ],
)
def test_a_misspelt_key_is_told_the_right_one(wrong: str, right: str) -> None:
    with pytest.raises(InputError, match=f"No setting is called '{wrong.split('=')[0]}'; did you mean '{right}'"):
        apply_settings(BASE, [wrong])


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
        "network.kind=nosuch",
        "network.kind=[unet]",
        "network.kind={}",
        "sampling.sampler.name=7",
        "network=nosuch",
        "model.kind=nosuch",
        "diffusion.schedule.name=nosuch",
        "told.label.dropout=2",
        "told.label.socket=ear",
        "told=5",
        "told=[label]",
        "told.size={kind: weight}",
        "told.size=5",
        "precision=int8",
    ],
)
def test_a_wrong_value_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match=text.split("=")[0]):
        apply_settings(BASE, [text])


@pytest.mark.parametrize(
    "text",
    [
        "images=5",
        "recipe=x",
        "note=x",
        "fingerprint=x",
        "training",
        "training=5",
        "training={images: 5}",
        "network.kind.x=1",
        "=1",
        "samples.bounded=false",
        "model.samples.shape=[1, 2, 3]",
        "model.samples={}",
        "parts={}",
        "parts.codec={path: x}",
        "told.label.dropout.more=1",
        "told.nothing.dropout=0.1",
        "told.=1.x=2",
        "conditional=false",
        "training.label_dropout=0.1",
        "training.precision=bf16",
        "sampling.eta=0.5",
    ],
)
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        apply_settings(BASE, [text])


def test_a_group_is_told_its_settings() -> None:
    with pytest.raises(
        InputError, match=r"'training' is a group of settings: training\.images, training\.seconds"
    ):
        apply_settings(BASE, ["training=5"])


def test_what_is_told_is_set_as_a_whole_or_in_part() -> None:
    def told(*settings: str) -> dict[str, Told]:
        results = [apply_settings(BASE, order).model.told for order in (settings, settings[::-1])]
        assert results[0] == results[1]
        return results[0]

    label = Told(kind="classes", dropout=0.1)
    assert told() == {"label": label}
    assert told("told={}") == {}
    assert told("told.label.dropout=0.25") == {"label": Told(kind="classes", dropout=0.25)}
    size = "told.size={kind: numbers, dropout: 0.5}"
    assert told(size) == {"label": label, "size": Told(kind="numbers", dropout=0.5)}
    assert told(size, "told.size.dropout=0.75", "told.label.socket=image") == {
        "label": Told(kind="classes", dropout=0.1, socket="image"),
        "size": Told(kind="numbers", dropout=0.75),
    }
    assert told("told={seen: {kind: embedding, of: encoder}}") == {"seen": Told(kind="embedding", of="encoder")}
    with pytest.raises(InputError, match=r"No setting is called 'told\.label\.dropout'"):
        told("told={}", "told.label.dropout=0.2")
    with pytest.raises(InputError, match="a picture cannot enter the socket vector"):
        told("told.label.kind=picture", "told.label.socket=vector")
    with pytest.raises(InputError, match="enters the socket tokens, which the network plain has not"):
        told("told.label.socket=tokens", "network=plain")


def test_kinds_and_what_only_they_have_are_set_together() -> None:
    settings = ["sampling.sampler.variance=large", "sampling.sampler=ddpm", "sampling.steps=5"]
    for order in (settings, settings[::-1]):
        sampling = apply_settings(BASE, order).model.sampling  # type: ignore[attr-defined]
        assert (sampling.sampler, sampling.steps) == (DDPMConfig(variance="large"), 5)
    settings = [
        "sampling.sampler.churn=2",
        "network.widths=[8]",
        "network=fully_connected",
        "sampling.sampler=heun",
    ]
    for order in (settings, settings[::-1]):
        model = apply_settings(BASE, ["model.kind=denoiser", *order]).model
        assert model.sampling.sampler == HeunConfig(churn=2)  # type: ignore[attr-defined]
        assert model.network.widths == (8,)  # type: ignore[attr-defined]
        assert model.told == {}
    # Neither the schedule nor the objective fits without the other.
    bounded = apply_settings(BASE, ["diffusion.objective=bound"])
    settings = ["diffusion.schedule=flow", "diffusion.objective=simple"]
    for order in (settings, settings[::-1]):
        assert apply_settings(bounded, order).model.diffusion.schedule.name == "flow"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="needs a discrete schedule"):
        apply_settings(bounded, settings[:1])


def test_of_the_same_key_given_twice_the_last_counts() -> None:
    assert apply_settings(BASE, ["seed=3", "seed=4"]).seed == 4
    twice = ["network=plain", "network=refinenet"]
    assert apply_settings(BASE, twice).model.network == networks["refinenet"]()  # type: ignore[attr-defined]


def test_the_value_of_a_sampler_that_stays_is_set_alone() -> None:
    config = apply_settings(BASE, ["sampling.sampler.eta=0.5"])
    assert config.model.sampling.sampler == DDIMConfig(eta=0.5)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1E-4", 1e-4), ("0.0001", 1e-4), ("1.0e-4", 1e-4), ("3", 3.0)]
)
def test_numbers_as_people_write_them(text: str, value: float) -> None:
    config = apply_settings(BASE, [f"training.learning_rate={text}"])
    assert config.training.learning_rate == value


def test_values_that_only_fit_each_other_are_set_together() -> None:
    settings = ["network.channels=[8, 16, 16]", "network.attention=[none, none, full]"]
    for order in (settings, settings[::-1]):
        network = apply_settings(BASE, order).model.network
        assert network.channels == (8, 16, 16)  # type: ignore[attr-defined]
        assert network.attention == ("none", "none", "full")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="attention names 2 levels and channels 3"):
        apply_settings(BASE, settings[:1])


def test_a_corruption_needs_one_level_and_an_answer_in_pixels() -> None:
    masking = ["diffusion.corruption=masking", "diffusion.schedule.name=single"]
    answer = ["diffusion.parameterization=x0", "diffusion.objective=x0"]
    assert apply_settings(BASE, masking + answer).model.diffusion.one_level
    for left_out in range(4):
        settings = (masking + answer)[:left_out] + (masking + answer)[left_out + 1 :]
        if left_out:
            with pytest.raises(InputError, match="masking needs the schedule single, and x0"):
                apply_settings(BASE, settings)
    apply_settings(BASE, ["diffusion.schedule.name=single", "diffusion.schedule.amount=1.5"])
    with pytest.raises(InputError, match="share of pixels"):
        apply_settings(BASE, [*masking, *answer, "diffusion.schedule.amount=1.5"])


def test_quotes_keep_a_text_a_text() -> None:
    assert apply_settings(BASE, ["data.source='1e5'"]).data.source == "1e5"


def test_another_kind_of_network_starts_at_its_defaults_whatever_the_order() -> None:
    settings = ["network.widths=[32, 16]", "network.kind=fully_connected"]
    for order in (settings, settings[::-1]):
        network = apply_settings(BASE, order).model.network
        assert network.model_dump() == {"kind": "fully_connected", "widths": (32, 16), "time": True, "norm": True}
    with pytest.raises(InputError, match=r"network\.blocks"):
        apply_settings(BASE, ["network.kind=plain", "network.blocks=2"])
    with pytest.raises(InputError, match="nosuch"):
        apply_settings(BASE, ["network.kind=nosuch"])


def test_another_schedule_starts_at_its_defaults_whatever_the_order() -> None:
    settings = ["diffusion.schedule.beta_end=0.03", "diffusion.schedule.name=linear"]
    for order in (settings, settings[::-1]):
        schedule = apply_settings(_config("mnist-ncsn"), order).model.diffusion.schedule
        assert schedule == ScheduleConfig(name="linear", beta_end=0.03)


def test_one_budget_replaces_the_other() -> None:
    training = apply_settings(BASE, ["training.seconds=60"]).training
    assert (training.images, training.seconds) == (None, 60)
    training = apply_settings(BASE, ["training.seconds=60", "training.images=10"]).training
    assert (training.images, training.seconds) == (10, None)
    training = apply_settings(BASE, ["training.seconds=60", "training.images=null"]).training
    assert (training.images, training.seconds) == (None, 60)
    with pytest.raises(InputError, match="a run has a budget in images or in seconds, one of the two"):
        apply_settings(BASE, ["training.images=null"])
    with pytest.raises(InputError, match="one of the two"):
        checked(Config, {**driver.BASE, "training": {"images": 10, "seconds": 60}})


def test_a_configuration_survives_its_file() -> None:
    for name in RECIPES:
        config = _config(name)
        assert checked(Config, yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


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
        apply_settings(BASE, [f"diffusion.{text}" for text in settings.split()])


def test_the_networks_outputs_follow_what_it_must_tell() -> None:
    for settings, outputs in (
        ((), 1),
        (("diffusion.objective=hybrid", "diffusion.variance=learned"), 2),
        (("diffusion.parameterization=dual",), 3),
        (("diffusion.parameterization=dual", "diffusion.objective=bound", "diffusion.variance=learned"), 4),
    ):
        assert apply_settings(BASE, settings).model.diffusion.outputs == outputs
