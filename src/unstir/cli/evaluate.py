"""``unstir evaluate``: measures what a run draws against real images, and how likely it holds these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstir.cli import options
from unstir.cli.attributes import attributes
from unstir.cli.places import default_place
from unstir.cli.reconstruction import reconstruction
from unstir.cli.report import Report
from unstir.cli.restoration import restoration
from unstir.cli.steering import steered
from unstir.errors import InputError, counted
from unstir.evaluation.backbones.names import BACKBONES, CLASSIFIER, BackboneName
from unstir.evaluation.metrics import (
    AGAINST,
    ALONE,
    HELD_OUT,
    LIKELIHOODS,
    METRICS,
    OF_SAMPLES,
    TRAIN,
    by_backbone,
    check,
    check_against,
)

if TYPE_CHECKING:
    from unstir.data.config import DataConfig
    from unstir.data.dataset import Splits
    from unstir.models.config import ModelConfig, Settings

_SUFFIXES = {
    "low": "the lower end of its 95 % interval, by resampling",
    "high": "the upper end",
    "floor": "{} of as many real {} images: as low as one may hope",
    "ceiling": "{} of as many real {} images: as high as one may hope",
    "control": "{} of held-out images: no model has seen these",
    "ratio": "the nearest distance over the second nearest, the median",
    "deviation": "standard deviation over subsets or parts",
    "warning": "",
    "absent": "",
}
"""What stands beside a figure, by the end of its name."""

_MEANINGS = {
    **{name: metric.about for name, metric in OF_SAMPLES.items()},
    **LIKELIHOODS,
    "samples": "images drawn",
    "against": "which real images they are compared with",
    "reference_images": "how many these are",
    "classifier_accuracy": "share of the held-out images that the classifier reads rightly",
    "confidence": "share of samples that it reads with a probability over 0.9",
    "bpd_images": "held-out images whose bits were measured",
    "bpd_standard_error": "of bpd, over the images",
    "bpd_prior": "its part that is left of the images at the noisiest level",
    "bpd_transitions": "its part of the steps between levels",
    "bpd_decoder": "its part of the last step, to pixels",
    "bpd_levels": "levels of the chain",
    "bpd_terms": "of them at which each image was measured",
    "bpd_variance": "of the chain's steps",
    "bpd_ode_standard_error": "of bpd_ode, over the images",
    "bpd_ode_levels": "levels of the solver",
    "backbone": "what reads the images",
    "backbone_key": "a hash of its weights and of how images are made ready for it",
    "samples_compared": "samples that are compared each with each",
    "reference_compared": "real images that are",
}

_OF_BITS = ("variance", "clip", "steps")
"""The sampling values that the chain of bpd heeds."""


@options.with_drawing
def evaluate(
    run: options.RunPath,
    metrics: Annotated[
        str,
        typer.Option(
            help=f"What to measure, with commas: {', '.join([*OF_SAMPLES, *LIKELIHOODS])}; or {', '.join(ALONE)} "
            "by itself; of a codec always reconstruction."
        ),
    ] = ",".join(METRICS),
    n: Annotated[
        int,
        typer.Option(
            "-n",
            metavar="N",
            min=2,
            max=options.MOST,
            help="How many images to draw; for bpd, restoration and reconstruction, how many held-out "
            "ones; for attributes, how many captions of each kind.",
        ),
    ] = 1000,
    terms: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=100_000, help="bpd: at how many levels each image is measured, at random."
        ),
    ] = 50,
    seed: options.Seed = 0,
    *,
    asked: dict[str, Any],
    classifier: options.Classifier = None,
    scale: options.Scale = None,
    weaker: options.Weaker = None,
    batch: options.Batch = 250,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What reads the images for recall, fd, kd, precision, density, coverage and memorization: "
            f"{', '.join(BACKBONES)} or torchvision:NAME; with @PATH behind it by weights of your own.",
            show_default="classifier, or without labels efficientnet-lite0",
        ),
    ] = None,
    among: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=2,
            max=options.MOST,
            help="How many samples and real images, at most, are compared each with each.",
        ),
    ] = 2000,
    against: options.Against = HELD_OUT,
    data: Annotated[
        str | None,
        typer.Option(help="Where the run's images are now, or others to compare with.", show_default="the run's"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw images from a run and measure them, or how many bits it needs for held-out ones.

    Unless --backbone says otherwise the ruler of drawn images is a classifier trained once on the same data;
    results compare models of one set. fid, sfid, kid and is are always Inception's. For bpd, --steps is the number
    of levels: all unless given, or 1,000 of a continuous schedule; for bpd_ode 100. Restoration is of each task of
    a run that is told degraded pictures; reconstruction of what a codec encodes; attributes is of what captions of
    scenes state, of training ones and of held-out combinations, N of each.
    """
    from unstir.models.config import CODEC
    from unstir.models.file import read_config
    from unstir.training.run_folder import data_of

    _, config = read_config(run)
    wanted = [metric.strip() for metric in metrics.split(",")]
    if wanted == [*METRICS] and config.codes is not None and "draw" not in config.verbs:
        wanted = ["reconstruction"]  # all there is to measure of a codec
    check(wanted)
    check_against(against)
    for reader in by_backbone(wanted, backbone):
        reader.check_path()
    alone = [metric for metric in wanted if metric in ALONE]
    if alone and len(wanted) > 1:
        raise InputError(f"The metric {alone[0]} stands alone: ask for the others by themselves")
    if alone and against != HELD_OUT:
        raise InputError(f"--against is for figures of drawn images, and {alone[0]} is of none")
    if alone == ["reconstruction"]:
        given = {**asked, "classifier": classifier, "scale": scale, "weaker": weaker, "backbone": backbone}
        reconstruction(run, config, n, seed, given, batch, data, as_json)
        return
    if alone == ["restoration"]:
        if classifier or scale is not None or weaker:
            raise InputError(
                "--classifier, --scale and --weaker are for drawing, and restoration draws nothing new"
            )
        restoration(run, config, n, seed, asked, batch, data, as_json)
        return
    if alone:
        if data is not None:
            raise InputError("attributes is of the captions that the run was trained on: leave --data out")
        config.require("draw")
        steering = steered(run, config, asked, classifier, scale, weaker)
        attributes(run, config, n, seed, asked, steering, batch, as_json)
        return
    draws = any(metric in OF_SAMPLES for metric in wanted)
    bits = any(metric in LIKELIHOODS for metric in wanted)
    for verb in ["draw"] * draws + ["predict"] * bits:
        config.require(verb)
    if bits and CODEC in config.parts:
        raise InputError(
            "bpd and bpd_ode are of the pixels of images, and this model draws codes, whose bits say nothing of "
            "those: leave them out"
        )
    chain = {name: asked[name] for name in _OF_BITS}
    if not draws:
        given = {**asked, "classifier": classifier, "scale": scale, "weaker": weaker, "backbone": backbone}
        given["against"] = against if against != HELD_OUT else None
        vain = [name for name, value in given.items() if value is not None and name not in _OF_BITS]
        if vain:
            raise InputError(f"--{vain[0].replace('_', '-')} is for drawing images, and {metrics} draws none")
        asked["sampler"] = "ddpm"  # the bound is the ancestral sampler's, whatever the run draws by
    steering = steered(run, config, asked, classifier, scale, weaker)
    sampling = steering.settings
    source = data_of(run, data)
    _check_source(source, wanted, backbone)
    what = _name(sampling) + (f"-against-{against}" if against != HELD_OUT else "") if draws else wanted[0]
    place = default_place(run, f"evaluations/{what}-n{n}-seed{seed}.json")
    report = Report(as_json)

    from unstir.data.load import load as load_images

    splits = load_images(source)
    labelled = splits.train.labels is not None and splits.held_out.labels is not None
    _check_images(config, steering.classes, splits, _by_classifier(wanted, backbone, labelled) and not labelled)

    report.say(_few(splits, n, against) if draws else "")

    from unstir.evaluation.bits import measure_bits
    from unstir.evaluation.measure import measure
    from unstir.models.file import load
    from unstir.processes import processes

    rank, model, measured = processes(), load(run), {}
    if draws:
        how = "at once" if sampling.evaluations == 1 else f"by {_name(sampling)}"
        report.say(f"Measuring {n:,} images of {run}, drawn {how}")
        share = range(n)[rank.process_index :: rank.num_processes]
        how = asked | steering.arguments()
        drawn = model.draw(share, seed=seed, batch=batch, progress=rank.is_main_process, **how)
        of_samples = [metric for metric in wanted if metric in OF_SAMPLES]
        measured |= measure(drawn, splits, of_samples, rank.is_main_process, backbone, among, against)
    if bits:
        count = min(n, len(splits.held_out))
        report.say(f"Measuring the bits that {run} needs for {count:,} held-out images of {source.source}")
        chain["clip"] = sampling.clip
        measured |= measure_bits(
            model,
            splits.held_out,
            wanted,
            n=n,
            seed=seed,
            batch=batch,
            terms=terms,
            progress=rank.is_main_process,
            **chain,
        )
    if not rank.is_main_process:
        return
    said = {name for name in measured if name.endswith(("_warning", "_absent"))}
    values = {
        "run": str(run),
        **measured,
        "data": source.source,
        "seed": seed,
        **({"sampling": sampling.model_dump(mode="json")} if draws else {}),
        **steering.values(),
    }
    rows = (
        (name, "", str(value)) if name in said else (name, _figure(value), _meaning(name, against))
        for name, value in measured.items()
    )
    report.keep(place, values, rows)


def _meaning(name: str, against: str) -> str:
    """Return what a figure says, in half a sentence; "" of a sentence."""
    metric, _, suffix = name.partition("_")
    if name in _MEANINGS or metric not in OF_SAMPLES:
        return _MEANINGS.get(name, "")
    return _SUFFIXES.get(suffix.rpartition("_")[2], "").format(metric, AGAINST[_other(against)])


def _few(splits: Splits, n: int, against: str) -> str:
    """Return what to say of few held-out images, and what to do then."""
    from unstir.evaluation.scores import FEW_REAL

    held_out, train = len(splits.held_out), len(splits.train)
    if held_out >= FEW_REAL or against != HELD_OUT:
        return ""
    beside = f"; -n {train} has as many of them beside the samples" if n > train else ""
    return (
        f"{counted(held_out, 'held-out image')} can tell little: --against train measures against the {train:,} "
        f"training images, where --metrics memorization tells copies of them{beside}"
    )


def _other(against: str) -> str:
    return TRAIN if against == HELD_OUT else HELD_OUT


def _by_classifier(metrics: list[str], backbone: str | None, labelled: bool) -> bool:
    """Whether a metric is asked for that needs the set's own classifier."""
    return BackboneName(CLASSIFIER) in by_backbone(metrics, backbone, labelled)


def _check_source(source: DataConfig, metrics: list[str], backbone: str | None) -> None:
    from unstir.data.sources import DATASETS, find

    find(source.source)
    known = DATASETS.get(source.source)
    if known is not None and not known.labelled and _by_classifier(metrics, backbone, False):
        raise InputError(
            f"'{source.source}' has no labels, and the metrics need a classifier of its classes; give a labelled "
            "set with --data, or ask for others, such as --metrics fd,recall"
        )


def _name(sampling: Settings) -> str:
    """Return what a way of drawing is called in a file's name."""
    values = sampling.model_dump(mode="json")
    return f"{values['sampler']['name']}-{sampling.steps}" if "sampler" in values else "at-once"


def _check_images(config: ModelConfig, classes: tuple[str, ...], splits: Splits, lacking: bool) -> None:
    """Check, before anything is drawn, that a run's images of these classes can be measured against others.

    Raises:
        InputError: If these have another shape or other classes, or labels are needed and ``lacking``.
    """
    held_out = splits.held_out
    if lacking:
        raise InputError(f"'{held_out.name}' has no labels, and the metrics need a classifier of its classes")
    if held_out.shape != config.image_shape:
        ours, theirs = ("x".join(map(str, shape)) for shape in (config.image_shape, held_out.shape))
        raise InputError(f"The run draws images of {ours}, and those of '{held_out.name}' are {theirs}")
    if classes and held_out.classes and held_out.classes != classes:
        raise InputError(f"The classes of '{held_out.name}' are not those that the run was trained with")


def _figure(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
