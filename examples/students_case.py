"""A student's case in small: a poor model, five things that could be to blame, and what the doctor finds.

Photographs enlarged to 96x96, 500 of them, the tutorials' plain U-Net and their linear schedule of 300 levels, 188
steps: the samples are poor. Each suspect is changed alone, then all are; then what the doctor blames, alone and
beside them; and of all these each is put back alone. The doctor examines every run.

python examples/students_case.py runs/student cifar10             # goes on if stopped
python examples/students_case.py runs/student cifar10 schedule    # one of them
"""

import json
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import unstir
from unstir.cli.main import run
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.load import load as load_images
from unstir.doctor.examine import examine
from unstir.doctor.patient import Patient
from unstir.evaluation.measure import measure

FEW, MANY, SIDE = 500, 5000, 96
SHORT, LONG, DRAWN = 3000, 12_000, 128
BASE = {
    "model.told": "{}",
    "data.size": SIDE,
    "network.channels": "[8,16,32,64,128]",
    "training.batch": 16,
}
UNET = {"network.kind": "unet", "network.channels": "[64,128,192]", "network.attention": "[none,none,full]"}
UNET |= {"network.blocks": 1, "network.patch": 3, "network.norm": "layer"}
COSINE = {"diffusion.schedule.name": "cosine", "diffusion.schedule.steps": 300}
TIME, DATA, TRAINING = {"network.embedding": 128}, {"images": MANY}, {"images_seen": LONG}
VELOCITY = {"diffusion.parameterization": "v", "diffusion.objective": "v"}
ALL = DATA | COSINE | UNET | TRAINING
WAYS = {
    "as it was": {},
    "time": TIME,
    "data": DATA,
    "schedule": COSINE,
    "network": UNET,
    "training": TRAINING,
    "all five": ALL,
    "velocity": VELOCITY,
    "all five and velocity": ALL | VELOCITY,
    "all but training": DATA | COSINE | UNET | VELOCITY,
    "all but schedule": DATA | UNET | TRAINING | VELOCITY,
    "all but data": COSINE | UNET | TRAINING | VELOCITY,
    "all but network": DATA | COSINE | TIME | TRAINING | VELOCITY,
}
"""What is changed. The better network is told the time by an embedding too."""


def prepared(folder: Path, source: str) -> tuple[Splits, dict[int, Path]]:
    """Return the photographs, and the files of few and of many of them."""
    splits = load_images(DataConfig(source=source))
    sets = ((splits.train, MANY), (splits.held_out, DRAWN * 10))
    small = [data.pixels[:: len(data) // count][:count] for data, count in sets]  # of all kinds: the set is sorted
    large = [np.concatenate([enlarged(part) for part in np.array_split(pixels, 20)]) for pixels in small]
    files = {}
    for count in (FEW, MANY):
        files[count] = folder / f"{count}.npz"
        if not files[count].exists():
            np.savez(files[count], images=large[0][:: MANY // count])
    return Splits(ImageData.from_array(large[0]), ImageData.from_array(large[1])), files


def enlarged(pixels: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(np.ascontiguousarray(pixels)).float()
    x = torch.nn.functional.interpolate(x, (SIDE, SIDE), mode="bicubic", antialias=True)
    return x.round().clamp(0, 255).to(torch.uint8).numpy()


def carry_out(folder: Path, name: str, files: dict[int, Path], splits: Splits) -> None:
    way = dict(WAYS[name])
    out, data = folder / name.replace(" ", "-"), files[way.pop("images", FEW)]
    budget = way.pop("images_seen", SHORT)
    settings = {key: value for key, value in BASE.items() if "network.kind" not in way or "network" not in key}
    words = [word for key, value in (settings | way).items() for word in ("--set", f"{key}={value}")]
    began = time.process_time()
    arguments = ["train", "cars64", "--data", str(data), "--images", str(budget), "--out", str(out), *words]
    if run(arguments) != 0:
        sys.exit(1)
    took = time.process_time() - began
    findings = [finding.values() for finding in examine(Patient(out)).findings]
    drawn = list(unstir.load(out).draw(range(DRAWN), sampler="ddim", steps=20, spacing="trailing", batch=32))
    figures = measure(drawn, splits, ["fd", "kd", "precision", "recall"], backbone="efficientnet-lite0")
    case(folder, name).write_text(json.dumps({"seconds": took, "findings": findings, "figures": figures}))


def case(folder: Path, name: str) -> Path:
    return folder / name.replace(" ", "-") / "case.json"


def row(name: str, found: dict) -> str:
    """Return what is told of a run as a row of a table."""
    figures, causes = found["figures"], [f"{one['cause']} {one['weight']:.2f}" for one in found["findings"]]
    distance = f"{figures['kd']:.3f} ({figures['kd_low']:.3f} to {figures['kd_high']:.3f})"
    shares = f"{figures['precision']:.2f} / {figures['recall']:.2f}"
    return f"| {name} | {distance} | {shares} | {found['seconds']:.0f} | {', '.join(causes[:4]) or 'nothing'} |"


def picture(folder: Path, names: list[str], shown: int = 8) -> None:
    """Draw the first samples of each run beside its name."""
    figure, rows = plt.subplots(len(names), 1, figsize=(9, 1.1 * len(names)), layout="constrained")
    for axes, name in zip(rows, names):
        model = unstir.load(case(folder, name).parent)
        drawn = model.sample(shown, sampler="ddim", steps=20, spacing="trailing").tensor
        axes.imshow((torch.cat([*drawn], 2).clamp(-1, 1).permute(1, 2, 0) + 1) / 2)
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set(xticks=[], yticks=[])
    figure.savefig(folder / "students-case.jpg", dpi=100)


def main(folder: Path, source: str, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    splits, files = prepared(folder, source)
    for name in names or WAYS:
        if not case(folder, name).exists():
            carry_out(folder, name, files, splits)
        print(row(name, json.loads(case(folder, name).read_text())))
    done = [name for name in WAYS if case(folder, name).exists()]
    picture(folder, done)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
