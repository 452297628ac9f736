"""A plan: several runs in turn, the later ones with earlier ones as their frozen parts. No torch.

Each stage is a run in a folder of its own within the plan's, so that it is resumed, looked at and used as any run
is; what names them in order is ``plan.yaml``. A stage names an earlier one as a part by the path from its own
folder, ``../encoder``, so that the whole may be moved.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import Field

from unstir.config import Part
from unstir.errors import InputError
from unstir.files import visible, whole_file
from unstir.models.config import FrozenPart
from unstir.models.file import PLAN, stages_in
from unstir.training.config import Config
from unstir.training.run_folder import RunFolder
from unstir.training.start import check_out


class Plan(Part):
    """Several runs in turn.

    Attributes:
        recipe: What returned it.
        stages: Their configurations by name, in order; the last one's model is the plan's.
    """

    recipe: str
    stages: dict[str, Config] = Field(min_length=1)


def stage(name: str) -> FrozenPart:
    """Return the part that an earlier stage of the same plan is."""
    return FrozenPart(path=f"../{name}")


def check_plan(plan: Plan, out: Path) -> None:
    """Check that ``out`` is free, or holds this plan, and of its stages that they are the same runs.

    Raises:
        InputError: If it holds another plan, or something else, or is no folder.
    """
    place = out / PLAN
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if not place.exists():
        if visible(out):
            held = "a single run" if RunFolder(out).config.exists() else "other files"
            raise InputError(f"--out {out} holds {held} and no plan; name a new folder")
        return
    before = stages_in(out)
    if before != {name: config.recipe for name, config in plan.stages.items()}:
        raise InputError(
            f"--out {out} holds another plan, whose stages are {', '.join(before)}; name another folder"
        )
    for name, config in plan.stages.items():
        check_out(config, out / name)


def settled(plan: Plan, out: Path, stage: str) -> bool:
    """Whether a later stage has begun: what it builds on stays as it is then, whatever the new budget."""
    names = list(plan.stages)
    return any(RunFolder(out / later).config.exists() for later in names[names.index(stage) + 1 :])


def write_plan(plan: Plan, out: Path) -> None:
    """Note the stages in the plan's folder."""
    text = yaml.safe_dump({name: config.recipe for name, config in plan.stages.items()}, sort_keys=False)
    with whole_file(out / PLAN) as partial:
        partial.write_text(text)
