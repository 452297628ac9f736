import numpy as np
import pytest

from unstir.data.dataset import ImageData, Splits


@pytest.fixture(scope="session")
def digits() -> Splits:
    """The bundled 8x8 digits: 1,437 to train with and 360 held out."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images / 16 * 255).astype(np.uint8)[:, None]
    mixed = np.random.default_rng(0).permutation(len(pixels))
    parts = (
        ImageData.from_array(pixels[part], bunch.target[part], name="digits")
        for part in (mixed[:1437], mixed[1437:])
    )
    return Splits(*parts)


@pytest.fixture(scope="session", autouse=True)
def cache(own_cache):
    """A cache of our own, so that nothing of the user's is read or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSTIR_CACHE", str(own_cache))
        yield own_cache
