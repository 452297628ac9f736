from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from driver import tensors
from torch import Tensor, nn

from unstir.data.config import DataConfig
from unstir.data.dataset import Splits
from unstir.errors import InputError
from unstir.files import held
from unstir.models.config import FrozenPart, SampleInfo
from unstir.models.file import load, save
from unstir.models.systems import ClassifierConfig
from unstir.tensors import read_about, write_tensors
from unstir.training.checkpoint import Position, Stateful, newest_checkpoint, restore, save_checkpoint, tidy
from unstir.training.config import Config
from unstir.training.learner import Learner
from unstir.training.run_folder import RunFolder, check_only_run, data_of, empty
from unstir.training.start import (
    check_out,
    check_parts,
    check_same,
    first_difference,
    named_parts,
    with_data,
    with_named_parts,
    with_parts,
)


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "\x00\x01", "recipe: x\nnonsense: 1"])
def test_a_damaged_configuration_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError):
        RunFolder(tmp_path).read_config()


def test_a_configuration_of_the_first_format_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("recipe: x\nnetwork: {kind: unet}\nconditional: true\n")
    with pytest.raises(
        InputError, match="is a run of an older unstir, which this one does not read: train it again"
    ):
        RunFolder(tmp_path).read_config()


def test_what_is_written_is_what_was_asked_for(
    make_config: Callable[..., Config], digits: Splits, tmp_path: Path
) -> None:
    asked = make_config("sampling.sampler.eta=0.5", "told.label.socket=image")
    folder = RunFolder(tmp_path)
    for config in (asked, with_data(asked, digits.train, tmp_path)):
        folder.write_config(config)
        assert folder.read_config() == asked.model_copy(update={"fingerprint": config.fingerprint})
        written = yaml.safe_load(folder.config.read_text())["model"]
        assert written["samples"] == {"bounded": True}
        assert written["told"]["label"].keys() == {"kind", "socket", "of", "column", "encoder", "dropout"}
    unbounded = asked.model.model_copy(update={"samples": SampleInfo(bounded=False)})
    config = asked.model_copy(update={"model": unbounded})
    folder.write_config(config)
    assert folder.read_config() == config
    check_out(config, tmp_path)


def test_the_data_of_a_run_and_of_a_model_alone(
    make_config: Callable[..., Config], digits: Splits, tmp_path: Path
) -> None:
    config = make_config("data.flip=true", "data.size=8", "data.channels=1")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="no run folder or model file at"):
        data_of(folder.path)
    folder.write_config(config)
    with pytest.raises(InputError, match="training has not reached a first checkpoint"):
        data_of(folder.path)
    save(folder.model, with_data(config, digits.train, tmp_path).model.build({}))
    assert data_of(folder.path) == config.data
    assert data_of(folder.path, "mnist") == config.data.model_copy(update={"source": "mnist"})
    with pytest.raises(
        InputError, match=r"model\.safetensors is a model without its run, .* which data with --data"
    ):
        data_of(folder.model)
    assert data_of(folder.model, "mnist") == DataConfig(source="mnist", size=8, channels=1)


# Checkpoints


Parts = tuple[nn.Module, nn.Module, torch.optim.Optimizer]


def _parts(seed: int = 0) -> Parts:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    average = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return model, average, torch.optim.AdamW(model.parameters(), fused=True)


class State(dict[str, Tensor]):
    """Tensors by name, restored where they are, as an object with a state."""

    def state_dict(self) -> dict[str, Tensor]:
        return self

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        if self.keys() != tensors.keys():
            raise KeyError(f"of {sorted(self)} there are {sorted(tensors)}")
        for name, tensor in self.items():
            tensor.copy_(tensors[name])


def _saved(parts: Parts) -> dict[str, Stateful]:
    """Return the parts as a checkpoint takes them: any objects with a state."""
    return {"model": parts[0], "average": parts[1]}


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    model(x).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_restored_parts_are_bit_for_bit_what_they_were(tmp_path: Path) -> None:
    folder, (model, average, optimizer) = RunFolder(tmp_path), _parts()
    for seed in range(3):
        _step(model, optimizer, seed)
    pending = [{"loss": 0.1, "gradient_norm": 2.5}]
    position = Position(step=3, images=6, elapsed=1.25, quarter=0, pending=pending)
    more = State(a=torch.rand(3, dtype=torch.float64), b=torch.tensor(7))
    save_checkpoint(folder, _saved((model, average, optimizer)) | {"more.inner": more}, position)
    again = _parts(seed=9)
    found = newest_checkpoint(folder)
    assert found is not None
    assert found[1] == position
    blank = State(a=torch.zeros(3, dtype=torch.float64), b=torch.tensor(0))
    restore(found[0], _saved(again) | {"more.inner": blank})
    for one, other in zip([model, average], again[:2], strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )
    assert all(torch.equal(more[name], blank[name]) for name in more)
    assert {key.rpartition(".")[0] for key in tensors(found[0])} >= {
        "model.0",
        "model.1",
        "average.0",
        "more.inner",
    }


@pytest.mark.parametrize("learned", ["adamw", "muon"])
def test_a_learner_is_its_named_objects(
    learned: str, make_config: Callable[..., Config], make_learner: Callable[..., Learner], tmp_path: Path
) -> None:
    """Restored from them alone, bit for bit, and what has memory formats keeps them."""
    config = make_config(
        "diffusion.times=importance", "diffusion.schedule.steps=8", f"training.optimizer={learned}"
    )
    learner = make_learner(config)
    assert {*learner.state()} == {"model", "average", "optimizer", "memory"}
    for _ in range(6):
        learner.step(1e-3)
    folder = RunFolder(tmp_path)
    save_checkpoint(folder, learner.state(), learner.position)
    other = make_learner(config)
    path, other.position = newest_checkpoint(folder)  # type: ignore[misc]
    restore(path, other.state())
    for name, state in learner.state().items():
        values, theirs = state.state_dict(), other.state()[name].state_dict()
        assert values.keys() == theirs.keys() and values
        assert all(torch.equal(value, theirs[key]) for key, value in values.items())
        assert [value.stride() for value in values.values()] == [theirs[key].stride() for key in values]
    losses = [each.step(1e-3)["loss"] for each in (learner, other)]
    assert torch.equal(*losses)


@pytest.mark.parametrize("name", ["model", "average", "optimizer", "memory"])
@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_a_checkpoint_that_does_not_fit_its_run_is_told(
    change: str,
    name: str,
    make_config: Callable[..., Config],
    make_learner: Callable[..., Learner],
    tmp_path: Path,
) -> None:
    learner = make_learner(make_config("diffusion.times=importance", "diffusion.schedule.steps=8"))
    learner.step(1e-3)
    folder = RunFolder(tmp_path)
    save_checkpoint(folder, learner.state(), learner.position)
    path = folder.checkpoint(1)
    held = tensors(path)
    of_it = [key for key in held if key.startswith(f"{name}.") and held[key].dim()]
    if change == "missing":
        del held[of_it[0]]
    elif change == "surplus":
        held[f"{name}.{'main.exp_avg.' if name == 'optimizer' else ''}nothing"] = torch.zeros(3)
    else:
        held[of_it[0]] = torch.zeros(7, 7)
    write_tensors(path, held, {"position": learner.position.model_dump()})
    with pytest.raises(InputError, match=f"cannot be used: its {name} does not fit the run") as told:
        restore(path, learner.state())
    assert "\n" not in str(told.value)


def test_a_checkpoint_without_what_the_optimizer_remembers_is_told(
    make_config: Callable[..., Config], make_learner: Callable[..., Learner], tmp_path: Path
) -> None:
    learner, folder = make_learner(make_config()), RunFolder(tmp_path)
    save_checkpoint(folder, learner.state(), learner.position)
    restore(folder.checkpoint(0), learner.state())  # which before the first step remembers nothing
    learner.step(1e-3)
    save_checkpoint(folder, learner.state(), learner.position)
    held = {key: value for key, value in tensors(folder.checkpoint(1)).items() if not key.startswith("optim")}
    write_tensors(folder.checkpoint(1), held, {"position": learner.position.model_dump()})
    with pytest.raises(
        InputError, match=r"its optimizer does not fit the run \(of main there is nothing, after 1"
    ):
        restore(folder.checkpoint(1), learner.state())


def test_a_quarter_lost_by_a_kill_is_kept_when_the_run_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in range(4):
        write_tensors(folder.checkpoint(step), {"a": torch.full((1,), step)}, {})
    tidy(folder, folder.checkpoint(3), Position(step=3, quarter=2))
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "quarter-2.safetensors",
        "step-000000002.safetensors",
        "step-000000003.safetensors",
    ]
    assert tensors(tmp_path / "checkpoints" / "quarter-2.safetensors")["a"] == 3


def test_objects_that_a_run_does_not_have_or_a_checkpoint_lacks_are_told(tmp_path: Path) -> None:
    folder, states = RunFolder(tmp_path), {name: State(a=torch.zeros(3)) for name in ("one", "two")}
    save_checkpoint(folder, states, Position(step=1))
    restore(folder.checkpoint(1), states)
    with pytest.raises(InputError, match="cannot be used: its three does not fit the run"):
        restore(folder.checkpoint(1), states | {"three": State(a=torch.zeros(3))})
    with pytest.raises(InputError, match=r"cannot be used: it holds two\.a, which the run has not"):
        restore(folder.checkpoint(1), {"one": states["one"]})


def test_pruning_keeps_the_newest_two_and_the_first_of_each_quarter(tmp_path: Path) -> None:
    folder, parts = RunFolder(tmp_path), _parts()
    for step in range(0, 17):
        nn.init.constant_(parts[0][0].bias, step)
        save_checkpoint(folder, _saved(parts), Position(step=step, quarter=step // 4))
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [
        *(f"quarter-{i}.safetensors" for i in (1, 2, 3, 4)),
        "step-000000015.safetensors",
        "step-000000016.safetensors",
    ]
    for i in (1, 2, 3, 4):
        value = tensors(tmp_path / "checkpoints" / f"quarter-{i}.safetensors")["model.0.bias"]
        assert (value == 4 * i).all()


def test_without_links_a_quarter_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    save_checkpoint(RunFolder(tmp_path), _saved(_parts()), Position(step=1, quarter=1))
    assert tensors(tmp_path / "checkpoints" / "quarter-1.safetensors")


def test_a_damaged_checkpoint_names_the_one_before_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert newest_checkpoint(folder) is None
    for step in (1, 2):
        save_checkpoint(folder, _saved(_parts()), Position(step=step))
    path = folder.checkpoint(2)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"step-0+2\.safetensors cannot be used: .* remove it .* step-0+1"):
        newest_checkpoint(folder)
    path.unlink()
    assert newest_checkpoint(folder) is not None
    for told in ({}, {"position": None}, {"position": {"step": "many"}}, {"position": {"pending": {}}}):
        write_tensors(path, {"a": torch.zeros(1)}, told)
        with pytest.raises(InputError, match="it does not say where the run stands; remove it to go on from"):
            newest_checkpoint(folder)


# Starting


def test_a_free_folder_or_the_same_run_is_taken(
    make_config: Callable[..., Config], digits: Splits, tmp_path: Path
) -> None:
    config, out = make_config(), tmp_path / "run"
    check_out(config, out)
    out.mkdir()
    check_out(config, out)
    seen = with_data(config, digits.train, out)
    check_same(seen, out)
    RunFolder(out).write_config(config.model_copy(update={"fingerprint": seen.fingerprint}))
    check_out(config, out)
    check_out(make_config("training.images=5000"), out)
    check_out(make_config("training.seconds=5"), out)
    check_out(seen, out)
    check_same(seen, out)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.batch=17", "its training.batch is 16, not 17"),
        ("seed=3", "its seed is 0, not 3"),
        ("network.kind=plain", r"its model\.network\.kind is unet, not plain"),
        ("told.label.dropout=0.2", r"its model\.told\.label\.dropout is 0\.1, not 0\.2"),
        ("told={}", r"its model\.told\.label is"),
        ("precision=bf16", r"its model\.precision is float32, not bf16"),
        ("sampling.sampler=ddpm", r"its model\.sampling\.sampler\.name is ddim, not ddpm"),
    ],
)
def test_another_run_is_refused_once_a_step_is_saved(
    setting: str, words: str, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    RunFolder(tmp_path).write_config(make_config())
    check_out(make_config(setting), tmp_path)
    saved_a_step(tmp_path)
    with pytest.raises(InputError, match=words):
        check_out(make_config(setting), tmp_path)


def test_other_images_are_refused(make_config: Callable[..., Config], digits: Splits, tmp_path: Path) -> None:
    config = with_data(make_config(), digits.train, tmp_path)
    assert config.fingerprint == digits.train.fingerprint
    RunFolder(tmp_path).write_config(config)
    other = config.model_copy(update={"fingerprint": "other"})
    check_same(other, tmp_path)
    saved_a_step(tmp_path)
    with pytest.raises(InputError, match="other images"):
        check_same(other, tmp_path)


def test_a_model_alone_is_a_run_too(make_config: Callable[..., Config], tmp_path: Path) -> None:
    RunFolder(tmp_path).write_config(make_config())
    RunFolder(tmp_path).model.touch()
    with pytest.raises(InputError, match="another run"):
        check_out(make_config("seed=3"), tmp_path)


def saved_a_step(out: Path) -> None:
    """Leave what says that a run has taken steps."""
    checkpoint = RunFolder(out).checkpoint(1)
    checkpoint.parent.mkdir()
    checkpoint.touch()


@pytest.mark.parametrize(
    "name", ["thesis.tex", "samples/mine.png", "checkpoints/notes", "own/deep/file", "samples/0.png"]
)
def test_a_run_that_holds_something_of_the_users_is_not_thrown_away(name: str, tmp_path: Path) -> None:
    for own in (
        *("config.yaml", "model.safetensors", "metrics.jsonl", "events.out.tfevents.1.host.2.0"),
        *("samples/images-0000000032.png", "checkpoints/step-000000004.safetensors"),
        *("checkpoints/quarter-2.safetensors", "samples/.partial-3/x", ".lock"),
    ):
        (tmp_path / own).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / own).touch()
    check_only_run(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / name).symlink_to(tmp_path)
    with pytest.raises(InputError, match=f"{name} would be lost, which training did not write"):
        check_only_run(tmp_path)


def test_files_of_others_are_left_alone(make_config: Callable[..., Config], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds other files and no run"):
        check_out(make_config(), tmp_path)
    with pytest.raises(InputError, match="is a file"):
        check_out(make_config(), tmp_path / "thesis.tex")


def test_first_difference() -> None:
    assert first_difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}) is None
    assert first_difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}) == ("b.c", 2, 3)
    assert first_difference({"a": 1}, {"a": 1, "d": 4}) == ("d", None, 4)


# Parts


@pytest.fixture
def encoder(digits: Splits, tmp_path: Path) -> Path:
    """The run folder of a classifier of the digits, beside the run that is to use it."""
    config = ClassifierConfig().seeing(digits.train.shape, digits.train.facts())
    save(tmp_path / "runs" / "encoder" / "model.safetensors", config.build({}))
    return tmp_path / "runs" / "encoder"


SEEN = "told={seen: {kind: embedding, of: encoder}}"


def test_a_part_is_named_by_its_path_and_noted_with_its_hash(
    make_config: Callable[..., Config], encoder: Path, digits: Splits
) -> None:
    out = encoder.parent / "run"
    config = make_config(SEEN)
    with pytest.raises(InputError, match=r"needs a part 'encoder': give --part encoder=RUN"):
        check_parts(config)
    for wrong, words in (
        ("encoder", "--part takes name=run"),
        ("encoder=", "--part takes name=run"),
        (f"decoder={encoder}", r"uses no part 'decoder': its parts are encoder, codec"),
        (f"encoder={encoder}-2", "The part 'encoder' of the model cannot be used: There is no run folder"),
    ):
        with pytest.raises(InputError, match=words):
            with_named_parts(config, named_parts([wrong]), out)
    config = with_named_parts(config, {"encoder": encoder}, out)
    check_parts(config)
    (part,) = config.model.parts.values()
    assert part == FrozenPart(path="../encoder")
    noted = with_parts(config, out).model.parts["encoder"]
    assert noted.path == "../encoder"
    assert noted.hash == read_about(encoder / "model.safetensors").hash
    assert noted.model == load(encoder).config
    seen = with_data(config, digits.train, out)
    assert seen.model.told["seen"].width == 64
    RunFolder(out).write_config(seen)
    written = yaml.safe_load(RunFolder(out).config.read_text())["model"]
    assert written["parts"] == {"encoder": {"path": "../encoder", "hash": noted.hash}}
    check_out(config, out)
    check_same(seen, out)


def test_a_part_that_changed_is_another_run(
    make_config: Callable[..., Config], encoder: Path, digits: Splits
) -> None:
    out = encoder.parent / "run"
    config = with_named_parts(make_config(SEEN), {"encoder": encoder}, out)
    RunFolder(out).write_config(with_data(config, digits.train, out))
    saved_a_step(out)
    save(encoder / "model.safetensors", load(encoder).config.build({}))
    check_out(config, out)
    with pytest.raises(
        InputError, match=r"holds a run with another part 'encoder': \.\./encoder has changed since"
    ):
        check_same(with_data(config, digits.train, out), out)
    with pytest.raises(InputError, match=r"The part 'encoder' of the model, .*encoder, has changed since"):
        with_data(RunFolder(out).read_config(), digits.train, out)


def test_a_part_must_be_able_to_do_its_part(
    make_config: Callable[..., Config], encoder: Path, digits: Splits
) -> None:
    out = encoder.parent / "run"
    cannot = make_config().model.seeing(digits.train.shape, digits.train.facts())
    save(encoder / "model.safetensors", cannot.build({}))
    config = with_named_parts(make_config(SEEN), {"encoder": encoder}, out)
    with pytest.raises(
        InputError, match="part 'encoder' is to see images, and it is a diffusion model, which cannot"
    ):
        with_data(config, digits.train, out)


def test_an_emptied_folder_is_still_held(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with held(out, "trains in it"):
        for name in ("config.yaml", "samples/images-1.png"):
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).touch()
        (out / "linked").symlink_to(tmp_path)
        empty(out)
        assert [path.name for path in out.iterdir()] == [".lock"]
        with pytest.raises(InputError, match="is in use"), held(out, "trains in it"):
            pass
    assert tmp_path.is_dir() and not out.exists()
