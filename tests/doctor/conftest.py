"""Where ``sabotage`` is found, and a cache of the tests' own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def cache(own_cache: Path) -> Iterator[Path]:
    """A cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSTIR_CACHE", str(own_cache))
        yield own_cache
