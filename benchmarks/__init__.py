"""How fast unstir trains and samples, beside its peers and beside what its arithmetic alone takes.

``python -m benchmarks`` prints one table from one run and keeps it under ``benchmarks/results/``.
"""
