from __future__ import annotations

import pytest

from unstir.data.shapes import Scene, scene


@pytest.fixture(scope="session")
def trained() -> list[Scene]:
    """Scenes to train on."""
    return [scene(i) for i in range(4000)]


@pytest.fixture(scope="session")
def unseen() -> list[Scene]:
    """Scenes that are held out."""
    return [scene(i, held_out=True) for i in range(4000)]
