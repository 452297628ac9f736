"""The model's file: what it says of itself beside the run, and its numbers."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient, within


def check(patient: Patient) -> Iterator[Finding]:
    """Compare the file's configuration with the run's, and look at how its weights are rounded."""
    if patient.begun is not None and patient.begun.model.model_dump() != patient.config.model_dump():
        ours, theirs = patient.config.model_dump(mode="json"), patient.begun.model.model_dump(mode="json")
        if _without_facts(ours) != _without_facts(theirs):
            name = next(key for key in ours if _without_facts(ours).get(key) != _without_facts(theirs).get(key))
            yield Finding(
                "another configuration",
                "The model's file is configured otherwise than its run.",
                f"{name} differs between {patient.folder.model.name} and {patient.folder.config.name}",
                "find out which of the two was changed; the file of a checkpoint says what was trained",
                "the model is read as what it was trained for",
                0.8,
            )
    average, own = within(patient.state, "average."), patient.model.state_dict()
    other = [name for name, value in average.items() if name in own and not torch.equal(value, own[name].cpu())]
    if other:
        yield Finding(
            "another model",
            "The model's file does not hold what its run has learned.",
            f"{len(other)} of {len(average)} tensors are not those in {patient.checkpoint}; normal is none",
            "the same unstir train command again writes the file anew, once it goes on",
            "what is drawn from is what was trained",
            0.55,
            {"tensors": len(other)},
        )
    weights = [p.detach().flatten() for p in patient.model.parameters() if p.dim() > 1]
    every = torch.cat(weights)
    every = every[every != 0]
    if len(every) < 1000:
        return
    rounded = max(
        float((every.to(kind).float() == every).double().mean()) for kind in (torch.bfloat16, torch.float16)
    )
    if rounded > 0.9:
        yield Finding(
            "rounded weights",
            "The weights were rounded to 16 bits.",
            f"{rounded:.0%} of them are numbers of 16 bits; of trained and averaged weights hardly any are",
            "keep the weights in float32, and draw from the file that training wrote",
            "slow changes of the weights are not lost",
            0.5,
            {"rounded": rounded},
        )


def _without_facts(values: dict[str, object]) -> dict[str, object]:
    """Return a configuration without what only the data says."""
    return {key: value for key, value in values.items() if key in ("kind", "network", "diffusion")}
