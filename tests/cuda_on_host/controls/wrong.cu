// Wrong kernels: each has one fault that the harness must report.

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

// As `reverse` of right.cu, without the barrier.
extern "C" __global__ void missing_barrier(const float *input, float *output) {
  DYNAMIC_SHARED(memory);
  float *tile = reinterpret_cast<float *>(memory);
  tile[threadIdx.x] = input[threadIdx.x];
  output[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

// Reads before the next round writes: the second of two barriers is missing.
extern "C" __global__ void overwritten(const float *input, float *output, int rounds) {
  DYNAMIC_SHARED(memory);
  float *tile = reinterpret_cast<float *>(memory);
  float sum = 0.0f;
  for (int round = 0; round < rounds; ++round) {
    tile[threadIdx.x] = input[round * blockDim.x + threadIdx.x];
    __syncthreads();
    sum += tile[(threadIdx.x + 1) % blockDim.x];
  }
  output[threadIdx.x] = sum;
}

// Blocks add to one number without an atomic.
extern "C" __global__ void racing_blocks(int *total) {
  if (threadIdx.x == 0) *total += 1;
}

extern "C" __global__ void global_write(float *output, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= count) output[i] = 1.0f;
}

extern "C" __global__ void global_read(const unsigned char *input, int *output, int offset) {
  output[threadIdx.x] = input[(int)threadIdx.x + offset];
}

extern "C" __global__ void shared_write(unsigned char *output) {
  DYNAMIC_SHARED(memory);
  memory[threadIdx.x + 1] = 1; // one byte too far
  __syncthreads();
  output[threadIdx.x] = memory[threadIdx.x];
}

extern "C" __global__ void uninitialised(float *output) {
  DYNAMIC_SHARED(memory);
  float *tile = reinterpret_cast<float *>(memory);
  if (threadIdx.x != 3) tile[threadIdx.x] = 0.0f;
  __syncthreads();
  output[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void signed_overflow(int *values) { values[threadIdx.x] *= 65536; }

extern "C" __global__ void misaligned(const float *input, float4 *output) {
  output[0] = *reinterpret_cast<const float4 *>(input + 1);
}

extern "C" __global__ void cast(const float *input, int *output) {
  output[threadIdx.x] = (int)input[threadIdx.x];
}

// Half of the threads return, the others wait.
extern "C" __global__ void early_return(int *output, unsigned count) {
  if (threadIdx.x >= count) return;
  __syncthreads();
  output[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers(int *output) {
  if (threadIdx.x % 2) {
    __syncthreads();
  } else {
    output[threadIdx.x] = 1;
    __syncthreads();
  }
}

extern "C" __global__ void half_a_warp(int *output) {
  if (threadIdx.x < 16) __syncwarp();
  output[threadIdx.x] = 1;
}
