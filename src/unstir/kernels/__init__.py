"""Operators that PyTorch has none for, or slow ones, on a CPU: in C++, compiled at first use."""
