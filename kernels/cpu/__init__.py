"""Numba kernels: NumPy arrays in, NumPy arrays out, no checks. One stem per CUDA twin."""

# Before any of its modules: whoever imports `numba` beside us takes its locks from the outside in.
import numba  # noqa: F401 (as said)
