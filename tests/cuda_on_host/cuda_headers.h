// What CuPy's own kernels include of CUDA's headers, before device.h gives the dialect its meaning.

#include <cmath>

#include <cuda_fp16.h>
#include <vector_functions.h>

#define __CUDACC_VER_MAJOR__ 13 // for CuPy's headers: cuda_fp16.h is there
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __forceinline__
#undef __noinline__
#undef __align__
#undef __launch_bounds__
#define __shared__ static // blocks run one after another
