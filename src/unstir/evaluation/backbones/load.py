"""A backbone by name."""

from __future__ import annotations

from unstir.evaluation.backbones.backbone import Backbone
from unstir.evaluation.backbones.names import EFFICIENTNET, PIXELS, TORCHVISION, BackboneName


def load(name: BackboneName) -> Backbone:
    """Return a backbone other than the set's own classifier (:func:`unstir.evaluation.ruler.ruler` has that).

    Raises:
        InputError: If its package or its weights are missing; the sentence says where to put these.
    """
    if name.name == PIXELS:
        from unstir.evaluation.backbones.pixels import PixelBackbone

        return PixelBackbone()
    if name.name == EFFICIENTNET:
        from unstir.evaluation.backbones.efficientnet import efficientnet

        return efficientnet(name.path)
    if name.name.startswith(TORCHVISION):
        from unstir.evaluation.backbones.vision import vision

        return vision(name.name, name.path)
    from unstir.evaluation.backbones.fidelity import fidelity

    return fidelity(name.name, name.path)
