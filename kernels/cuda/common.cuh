// What all kernels share: index types, clamping, shared memory. No includes: NVRTC, nvcc and a C++
// compiler on the host (tests/cuda_on_host) take the same text.

typedef unsigned int uint32;
typedef unsigned long long uint64;
typedef long long int64;

#ifndef INDEX  // of a voxel within one volume: int where it fits, else long long
#define INDEX int
#endif

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

#define FAR 5e8f  // voxels; further than any image reaches, and safe to cast

__device__ __forceinline__ int floor32(float value) {
  // Floor as int; NaN and whatever is too far are far outside.
  return __float2int_rd(fminf(fmaxf(value, -FAR), FAR));
}

__device__ __forceinline__ int clamp(int index, int size) { return min(max(index, 0), size - 1); }

__device__ __forceinline__ int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Add up `sums` rows of a block's partial sums, one of each thread: the first of a row is its sum.
__device__ __forceinline__ void add_partials(double* partial, int threads, int sums) {
  __syncthreads();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half)
      for (int k = 0; k < sums; ++k)
        partial[k * threads + threadIdx.x] += partial[k * threads + threadIdx.x + half];
    __syncthreads();
  }
}

__device__ __forceinline__ float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double multiply_add(double a, double b, double c) { return fma(a, b, c); }
