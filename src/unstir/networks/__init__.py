"""Networks: ``network(x, t, condition)`` returns images of the shape of ``x``.

``x`` is (B, C, H, W) of any size, ``t`` float (B,) in [0, 1], the condition may be None.
"""
