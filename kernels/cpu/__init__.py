"""Numba kernels: NumPy arrays in, NumPy arrays out, no checks."""

# Before any of its modules: an import of `numba` on another thread locks it first, and then these.
# The other way round here, each would wait for the other.
import numba  # noqa: F401 (as said)
