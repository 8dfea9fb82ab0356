"""CUDA kernels: CuPy arrays in, CuPy arrays out; for some of the CPU's stems."""
