"""Networks: ``network(x, t, sockets)`` returns images of the shape of ``x``, or several of them.

``x`` is (B, C, H, W), ``t`` float (B,) in [0, 1]. What the network is told arrives through three sockets; a
conditioner fills them from what is told by name.
"""
