// Right kernels: what the harness must run without a complaint, whatever the order.

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

struct Affine {
  double factor;
  float shift;
  int count;
};

__constant__ const int POWERS[4] = {1, 10, 100, 1000};

// Reverses every block's stretch, through shared memory; then scales it.
extern "C" __global__ void __launch_bounds__(256)
    reverse(const float *__restrict__ input, float *__restrict__ output, const Affine affine) {
  DYNAMIC_SHARED(memory);
  float *tile = reinterpret_cast<float *>(memory);
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x] = i < affine.count ? input[i] : 0.0f;
  __syncthreads();
  const float reversed = tile[blockDim.x - 1 - threadIdx.x];
  if (i < affine.count) output[i] = fmaf((float)affine.factor, reversed, affine.shift);
}

// The sum by a tree: a barrier per level; the blocks' sums are added by atomics.
extern "C" __global__ void sum(const LABEL *__restrict__ labels, long long count,
                               unsigned long long *__restrict__ total, double *__restrict__ twice,
                               int *__restrict__ least, int *__restrict__ most) {
  DYNAMIC_SHARED(memory);
  unsigned *parts = reinterpret_cast<unsigned *>(memory);
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  parts[threadIdx.x] = i < count ? __ldg(labels + i) : 0;
  for (unsigned half = blockDim.x / 2; half; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
  }
  if (threadIdx.x == 0) {
    atomicAdd(total, (unsigned long long)parts[0]);
    atomicAdd(twice, 2.0 * parts[0]);
  }
  if (i < count) {
    atomicMin(least, (int)labels[i]);
    atomicMax(most, (int)labels[i]);
  }
}

// Counts in shared memory, then in global memory; the last block sets `done`.
extern "C" __global__ void histogram(const unsigned char *__restrict__ values, int count,
                                     unsigned *__restrict__ counts, unsigned *__restrict__ ticket,
                                     unsigned *__restrict__ done) {
  DYNAMIC_SHARED(memory);
  unsigned *mine = reinterpret_cast<unsigned *>(memory);
  unsigned &last = mine[256];
  for (unsigned bin = threadIdx.x; bin < 256; bin += blockDim.x) mine[bin] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
    atomicAdd(&mine[values[i]], 1u);
  __syncthreads();
  for (unsigned bin = threadIdx.x; bin < 256; bin += blockDim.x) atomicAdd(&counts[bin], mine[bin]);
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(ticket, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  for (unsigned bin = threadIdx.x; bin < 256; bin += blockDim.x) done[bin] = counts[bin];
}

// Each warp rotates its values by one lane.
extern "C" __global__ void rotate(int *values) {
  DYNAMIC_SHARED(memory);
  int *slots = reinterpret_cast<int *>(memory);
  slots[threadIdx.x] = values[threadIdx.x];
  __syncwarp();
  values[threadIdx.x] = slots[(threadIdx.x & ~31u) | ((threadIdx.x + 1) & 31u)];
}

// The dialect, a line each.
extern "C" __global__ void dialect(float *floats, double *doubles, int *ints,
                                   unsigned long long *longs, uint4 *vectors) {
  const dim3 shape = gridDim;
  sincospif(2.25f, &floats[0], &floats[1]);
  floats[2] = __uint_as_float(__float_as_uint(1.5f) | 0x80000000u);
  floats[3] = fminf(floorf(-1.5f), __fmul_rn(2.0f, 3.0f)) + fmaxf(rintf(2.5f), __fadd_rn(1.0f, 0.5f));
  floats[4] = min(__int_as_float(0x7FC00000), 4.0f); // NaN loses
  floats[5] = max(sqrtf(16.0f), logf(1.0f));
  sincospi(-0.75, &doubles[0], &doubles[1]);
  doubles[2] = cospi(1.0) + sinpi(0.5) + erf(0.0) + erfc(0.0);
  doubles[3] = __longlong_as_double(__double_as_longlong(2.0) + 1) - 2.0;
  doubles[4] = __dmul_rn(3.0, __dadd_rn(1.0, exp(0.0))) + fma(2.0, 3.0, log(1.0));
  ints[0] = __clz(1) + 100 * __popc(0xF0F0u) + 10000 * __ffs(8);
  ints[1] = min(3, -2) + max(7, 5) + abs(-100) + POWERS[3];
  ints[2] = isnan(floats[4]) + 2 * isnan(__int_as_float(0x7FC00000)) + 4 * isfinite(1.0);
  ints[3] = atomicCAS(&ints[4], 7, 9) + atomicExch(&ints[5], 11) + 100 * (int)shape.y;
  ints[6] = (int)__umulhi(0x80000000u, 6u);
  ints[7] = __float2int_rn(2.5f) + 10 * __float2int_rd(-0.5f) + 100 * __double2int_rn(3.5);
  ints[8] = __float2int_rz(__int_as_float(0x7FC00000)) + (__float2int_rz(3e9f) == 2147483647);
  longs[0] = __umul64hi(1ull << 63, 6ull);
  longs[1] = max(2ull, 3ull) + sizeof(float4) + 100 * sizeof(short4) + 10000 * sizeof(float3);
  atomicAdd(&longs[2], 5ull);
  atomicMax(&longs[3], 9ull);
  atomicMin(&longs[4], 1ull);
  atomicAdd(&floats[6], 0.5f);
  unsigned *words = reinterpret_cast<unsigned *>(vectors + 1);
  atomicOr(&words[0], 6u);
  atomicMin(&words[1], 2u);
  atomicMax(&words[2], 8u);
  vectors[0] = make_uint4(1u, 2u, 3u, 4u);
  const float4 four = make_float4(1.0f, 2.0f, 3.0f, 4.0f);
  const int2 two = make_int2(5, 6);
  words[3] = (unsigned)(four.x + four.w) + two.y;
}

// In which turn each thread of the grid came, and where it stands.
extern "C" __global__ void visit(unsigned *ticket, unsigned *turns, uint3 *places) {
  const unsigned lane = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + lane;
  turns[i] = atomicAdd(ticket, 1u);
  places[2 * i] = threadIdx;
  places[2 * i + 1] = blockIdx;
}
