// Masks of maps by a bound: what thresholds of probabilities and of votes share.
//
// VALUE is what a map has, float, double or an unsigned integer; it is compared as a Bound.

#define THREADS 256
#define CHUNK 4096        // voxels of a block that takes ties in order
#define OF_THE_MASS (-2)  // a rank

// A value as it is compared and summed. CuPy compiles with subnormal float32 flushed to zero, in
// conversions too: theirs are made from their bits.
__device__ __forceinline__ double widen(float value) {
  uint32 bits = __float_as_uint(value);
  if (bits & 0x7f800000u) return (double)value;
  double size = (double)(bits & 0x7fffffu) * 1.4012984643248171e-45;  // 2^-149
  return bits >> 31 ? -size : size;
}

__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ int64 widen(unsigned char votes) { return votes; }
__device__ __forceinline__ int64 widen(unsigned short votes) { return votes; }

typedef decltype(widen((VALUE)0)) Bound;

// Fill (maps, voxels) with values >= bounds or, if strict, >.
extern "C" __global__ void __launch_bounds__(THREADS)
    segment(const VALUE* values, int64 maps, int64 voxels, const Bound* bounds, int strict,
            unsigned char* out) {
  int64 i = (int64)blockIdx.x * THREADS + threadIdx.x;
  if (i >= voxels) return;
  for (int64 map = blockIdx.y; map < maps; map += gridDim.y) {
    Bound value = widen(values[map * voxels + i]), bound = bounds[map];
    out[map * voxels + i] = strict ? value > bound : value >= bound;
  }
}

// Count, per chunk of a map, the voxels above and at the bound: (maps, chunks, 2).
extern "C" __global__ void __launch_bounds__(THREADS)
    count_ties(const VALUE* values, int64 maps, int64 voxels, int64 chunks, const Bound* bounds,
               int64* ties) {
  DYNAMIC_SHARED(arena);
  uint32* counts = (uint32*)arena;
  for (int64 map = blockIdx.y; map < maps; map += gridDim.y) {
    if (threadIdx.x < 2) counts[threadIdx.x] = 0;
    __syncthreads();
    int64 start = (int64)blockIdx.x * CHUNK, stop = min(start + CHUNK, voxels);
    uint32 above = 0, equal = 0;
    for (int64 i = start + threadIdx.x; i < stop; i += THREADS) {
      Bound value = widen(values[map * voxels + i]);
      above += value > bounds[map];
      equal += value == bounds[map];
    }
    atomicAdd(counts, above);
    atomicAdd(counts + 1, equal);
    __syncthreads();
    if (threadIdx.x < 2) ties[(map * chunks + blockIdx.x) * 2 + threadIdx.x] = counts[threadIdx.x];
    __syncthreads();
  }
}

// Replace the ties of a chunk by how many of them its map takes; a block per map.
extern "C" __global__ void __launch_bounds__(THREADS)
    share_ties(int64 maps, int64 chunks, const int64* ranks, int64* ties) {
  DYNAMIC_SHARED(arena);
  int64* above = (int64*)arena;
  int64* equal = above + THREADS;
  int64 share = (chunks + THREADS - 1) / THREADS;
  for (int64 map = blockIdx.x; map < maps; map += gridDim.x) {
    int64* of = ties + map * chunks * 2;
    int64 start = min(share * threadIdx.x, chunks), stop = min(start + share, chunks);
    above[threadIdx.x] = equal[threadIdx.x] = 0;
    for (int64 i = start; i < stop; ++i) {
      above[threadIdx.x] += of[2 * i];
      equal[threadIdx.x] += of[2 * i + 1];
    }
    __syncthreads();
    int64 left = ranks[map];
    for (int i = 0; i < THREADS; ++i) left -= above[i];
    for (int i = 0; i < threadIdx.x; ++i) left -= equal[i];
    for (int64 i = start; i < stop; ++i) {
      int64 here = of[2 * i + 1];
      of[2 * i + 1] = max(min(here, left), (int64)0);
      left -= here;
    }
    __syncthreads();
  }
}

// Fill (maps, voxels) with values above the bound and, of those at it, the first that a chunk takes.
extern "C" __global__ void __launch_bounds__(THREADS)
    segment_first(const VALUE* values, int64 maps, int64 voxels, int64 chunks, const Bound* bounds,
                  const int64* ties, unsigned char* out) {
  DYNAMIC_SHARED(arena);
  uint32* equal = (uint32*)arena;
  const int each = CHUNK / THREADS;
  for (int64 map = blockIdx.y; map < maps; map += gridDim.y) {
    int64 start = (int64)blockIdx.x * CHUNK + threadIdx.x * each, stop = min(start + each, voxels);
    const VALUE* from = values + map * voxels;
    uint32 mine = 0;
    for (int64 i = start; i < stop; ++i) mine += widen(from[i]) == bounds[map];
    equal[threadIdx.x] = mine;
    __syncthreads();
    int64 left = ties[(map * chunks + blockIdx.x) * 2 + 1];
    for (int i = 0; i < threadIdx.x; ++i) left -= equal[i];
    for (int64 i = start; i < stop; ++i) {
      Bound value = widen(from[i]);
      bool taken = value == bounds[map] && left > 0;
      left -= taken;
      out[map * voxels + i] = value > bounds[map] || taken;
    }
    __syncthreads();
  }
}
