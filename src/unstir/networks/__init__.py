"""Networks: ``network(x, t, sockets)`` returns images of the shape of ``x``, or several of them.

``x`` is (B, C, H, W), ``t`` float (B,) in [0, 1]. What the network is told arrives through three sockets; a
conditioner fills them from what is told by name.
"""

from unstir.networks import skip_mlp_config as _skip_mlp  # which adds its kind to those that are known  # noqa: F401
