"""CUDA kernels: CuPy arrays in, CuPy arrays out; the same stems and signatures as the CPU's."""
