"""What a report asks of a model itself: an examination, samples, the walk from noise, losses, neighbours.

What a model has no verb for, or lacks the images for, is left out, and why is noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from unstir.doctor.examine import Diagnosis, examine
from unstir.doctor.patient import Patient
from unstir.errors import InputError
from unstir.evaluation.figures.levels import LevelLosses, level_losses
from unstir.evaluation.figures.reverse import film_of, reverse_stages
from unstir.models.file import load
from unstir.models.model import Model
from unstir.web.report.neighbours import Neighbours, neighbours
from unstir.web.report.pictures import Shown, film, shown
from unstir.web.report.record import Record

FILMED, FRAMES = 6, 36
IMAGES = 128
"""Held-out images, and as many training ones, whose losses are measured at each level."""

EXAMINATION = "The examination"
SAMPLES = "The newest samples"
FILM = "The film from noise to images"
LEVELS = "The loss by noise level"
NEIGHBOURS = "The nearest training images"


@dataclass
class Examined:
    """What a model answered; None where it was left out.

    Attributes:
        parameters: How many it has.
        training_images: How many it was trained on.
        samples: Drawn now, where training drew none.
        diagnosis: The doctor's.
        film: Of noise that becomes images.
        levels: Losses at each level of noise.
        neighbours: Samples beside training images.
        left_out: Why, by what is left out.
    """

    parameters: int
    training_images: int | None = None
    samples: Shown | None = None
    diagnosis: Diagnosis | None = None
    film: Shown | None = None
    levels: LevelLosses | None = None
    neighbours: Neighbours | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def unless_wrong(self, what: str) -> Iterator[None]:
        """Leave something out where the model or its images do not allow it."""
        try:
            yield
        except InputError as error:
            self.left_out[what] = str(error)


def examined(record: Record, data: str | None = None, seed: int = 0, progress: bool = False) -> Examined:
    """Ask the model of a run all that a report shows.

    Args:
        record: The run.
        data: Where its images are now; None: where they were.
        seed: Of what is drawn and of the images that are looked at.
        progress: Whether to show progress bars.

    Raises:
        InputError: If the model cannot be loaded, or ``data`` is given and does not fit it.
    """
    patient, why = None, ""
    try:
        patient = Patient(record.run, data, seed)
    except InputError as error:
        if data is not None:
            raise
        why = str(error)
    model = patient.model if patient else load(record.run)
    found = Examined(sum(parameter.numel() for parameter in model.parameters()))
    if patient is None:
        found.left_out |= dict.fromkeys((EXAMINATION, LEVELS, NEIGHBOURS), why)
    else:
        found.training_images = len(patient.splits.train) if record.begun else None
        found.diagnosis = examine(patient, progress)
        with found.unless_wrong(LEVELS):
            found.levels = _levels(record, patient, seed, progress)
        with found.unless_wrong(NEIGHBOURS):
            _check_images(record, patient)
            record.model.require("draw")
            found.neighbours = neighbours(patient)
    with found.unless_wrong(FILM):
        found.film = _film(record, model, seed, progress)
    if not record.pictures:
        with found.unless_wrong(SAMPLES):
            found.samples = _samples(record, model, patient, seed)
    return found


def _check_images(record: Record, patient: Patient) -> None:
    """Check that the images are those that the run was trained on.

    Raises:
        InputError: If they are others, or it is not known.
    """
    if record.begun is None:
        raise InputError("Which images a model file was trained on is not known: give its run folder")
    if patient.splits.train.fingerprint != record.begun.fingerprint:
        name = patient.splits.train.name
        raise InputError(f"The images of '{name}' are not those that the run was trained on")


def _levels(record: Record, patient: Patient, seed: int, progress: bool) -> LevelLosses:
    record.model.require("predict")
    record.model.hideable("The loss by noise level")
    _check_images(record, patient)
    return level_losses(patient.model, patient.splits, IMAGES, seed, progress)  # type: ignore[arg-type]


def _film(record: Record, model: Model, seed: int, progress: bool) -> Shown:
    record.model.require("predict")
    stages = reverse_stages(model, FILMED, FRAMES, None, seed, progress)  # type: ignore[arg-type]
    return film(film_of(stages))


def _samples(record: Record, model: Model, patient: Patient | None, seed: int) -> Shown:
    record.model.require("draw")
    drawn = patient.walked.samples if patient else model.sample(64, seed=seed)  # type: ignore[operator]
    return shown(drawn.grid())
