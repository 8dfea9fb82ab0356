"""Numba kernels: NumPy arrays in, NumPy arrays out, no checks. One stem per CUDA twin."""
