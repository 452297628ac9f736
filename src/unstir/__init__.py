"""unstir: the whole family of denoising generative models, on the machine you have.

>>> import unstir
>>> run = unstir.load("runs/mnist")  # doctest: +SKIP
>>> run.sample(64, seed=0).save("digits.png")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unstir.models.file import load

__all__ = ["load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import ``load`` when it is first asked for: the command starts without torch."""
    if name == "load":
        from unstir.models.file import load

        return load
    raise AttributeError(f"module 'unstir' has no attribute '{name}'")
