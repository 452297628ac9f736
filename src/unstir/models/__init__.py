"""Models: what a run trains and a file holds, one file for each system. Importing this imports no torch."""

from unstir.models import autoencoder_config as _autoencoder_config  # noqa: F401
from unstir.models import diffae_config as _diffae  # noqa: F401
from unstir.models import systems as _systems  # which adds them to those that are known  # noqa: F401
