from pathlib import Path

import pytest

from unstir.data.config import DataConfig
from unstir.data.dataset import Splits
from unstir.data.load import load


@pytest.fixture(scope="session")
def digits(cache: Path, ruled: None) -> Splits:
    """The bundled 8x8 digits: 1,437 to train with and 360 held out."""
    return load(DataConfig(source="digits"))


@pytest.fixture(scope="session", autouse=True)
def cache(own_cache):
    """A cache of our own, so that nothing of the user's is read or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSTIR_CACHE", str(own_cache))
        yield own_cache
