"""``unstir edit reconstruct``: what a codec keeps of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unstir.cli import options
from unstir.cli.edit import pictures
from unstir.cli.edit.meaning import from_both_codes
from unstir.cli.places import picture_place
from unstir.cli.reconstruction import codec_in
from unstir.cli.report import Report
from unstir.errors import InputError
from unstir.files import write_new


def reconstruct(
    run: options.RunPath,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, of any kind and size.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The picture, such as x.png; of several a folder.",
            show_default="RUN/edits/IMAGE-reconstructed.png",
        ),
    ] = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Encode pictures and decode them again: what a codec keeps of them.

    A picture is taken in its own size. Of a large one, tiles that overlap are encoded and decoded by themselves.
    With a diffusion autoencoder it is a strip: the picture, what both codes bring back, and what z_sem does alone.
    """
    from unstir.models.file import read_config

    _, config = read_config(run)
    config = codec_in(config)
    if out is not None and len(images) > 1:
        raise InputError(f"--out {out} is one file, and there are {len(images)} pictures: leave it out")
    if "morph" in config.verbs:
        from_both_codes(run, images, out, seed, as_json)
        return
    found = [(image, pictures.read_any(image, config)) for image in images]
    endings = pictures.endings(config.image_shape[0])
    places = [picture_place(out, run, f"edits/{image.stem}-reconstructed.png", endings) for image in images]

    from unstir.evaluation.restoration import in_steps, psnr
    from unstir.models.file import load
    from unstir.models.samples import Samples

    report, model, rows = Report(as_json), load(run).asking("encode"), []
    for (image, pixels), place in zip(found, places, strict=True):
        x = pictures.as_images(pixels)
        made = model.decode(model.encode(x), [seed])[..., : x.shape[2], : x.shape[3]]  # type: ignore[operator]
        if made.shape != x.shape:
            raise InputError(f"{image} is larger than what the codec makes of its codes: bring it to another size")
        near = float(psnr(in_steps(made), in_steps(x)))
        rows.append(
            {"image": str(image), "out": str(write_new(place, Samples(made).picture(0).save)), "psnr": near}
        )
        report.say(f"{image}: {near:.2f} dB, in {rows[-1]['out']}")
    where = rows[-1]["out"] if len(rows) == 1 else f"{places[0].parent}"
    report.end(f"What the codec keeps is in {where}", {"run": str(run), "seed": seed, "images": rows})
