"""CUDA kernels compiled by g++ and run on the host: see launcher.py."""
