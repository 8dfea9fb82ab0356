// Decisions of votes, in exact arithmetic: the voxels of each level are counted, then a map is decided.
// VALUE is an unsigned integer of one or two bytes.

extern "C" __global__ void __launch_bounds__(THREADS) clear_levels(int64 count, uint64* levels) {
  int64 i = (int64)blockIdx.x * THREADS + threadIdx.x;
  if (i < count) levels[i] = 0;
}

// Add a block's part of a map, votes beyond the raters as theirs, to the counts of its levels.
__device__ __forceinline__ void count_part(const VALUE* votes, int64 voxels, int raters,
                                           uint64* counts) {
  int64 stride = (int64)gridDim.x * THREADS;
  uint64 level = 0, count = 0;  // votes in a row that are the same
  for (int64 i = (int64)blockIdx.x * THREADS + threadIdx.x; i < voxels; i += stride) {
    uint64 vote = min((uint64)votes[i], (uint64)raters);
    if (vote != level && count) {
      atomicAdd(counts + level, count);
      count = 0;
    }
    level = vote;
    count += 1;
  }
  if (count) atomicAdd(counts + level, count);
}

// Count the voxels of each level: (maps, raters + 1). Few of them are counted in shared memory first:
// all blocks would wait for the same addresses.
extern "C" __global__ void __launch_bounds__(THREADS)
    count_levels(const VALUE* votes, int64 maps, int64 voxels, int raters, int few,
                 uint64* levels) {
  DYNAMIC_SHARED(arena);
  uint64* counts = (uint64*)arena;
  for (int64 map = blockIdx.y; map < maps; map += gridDim.y) {
    const VALUE* own = votes + map * voxels;
    uint64* to = levels + map * (raters + 1);
    if (!few) {
      count_part(own, voxels, raters, to);
      continue;
    }
    for (int level = threadIdx.x; level <= raters; level += THREADS) counts[level] = 0;
    __syncthreads();
    count_part(own, voxels, raters, counts);
    __syncthreads();
    for (int level = threadIdx.x; level <= raters; level += THREADS)
      if (counts[level]) atomicAdd(to + level, counts[level]);
    __syncthreads();
  }
}

// Whether a b > c d, in twice the precision: exact for integers that float64 holds.
__device__ __forceinline__ bool exceeds(double a, double b, double c, double d) {
  double left = a * b, right = c * d;
  return left != right ? left > right : fma(a, b, -left) > fma(c, d, -right);
}

enum Metric { SCORE, ACCURACY, VOLUME };

#define NEVER ((int64)1 << 62)  // a bound that no vote reaches

// Decide each map from its levels: threshold, the least votes of the largest and of the smallest
// optimal set, and the rank; a thread per map.
extern "C" __global__ void __launch_bounds__(THREADS)
    decide_levels(int64 maps, int raters, int metric, double weight, int64 rank,
                  const uint64* levels, double* thresholds, int64* largest, int64* smallest,
                  int64* ranks) {
  int64 map = (int64)blockIdx.x * THREADS + threadIdx.x;
  if (map >= maps) return;
  const uint64* count = levels + map * (raters + 1);
  int64 mass = 0;
  for (int level = 1; level <= raters; ++level) mass += level * (int64)count[level];
  double top = 1, bottom = 2;  // the threshold, as a fraction: one half without a better one
  if (metric == VOLUME) {
    if (rank == OF_THE_MASS) rank = (2 * mass + raters) / (2 * (int64)raters);
    int64 above = 0;
    int level = raters + 1;
    while (rank > 0 && level > 0 && above < rank) above += (int64)count[--level];
    top = rank > 0 ? level : 1, bottom = rank > 0 ? raters : 0;
  } else if (metric == SCORE && mass > 0) {
    double inside = 0, size = 0;
    top = 0, bottom = 1;
    for (int level = raters; level > 0; --level) {
      if (!count[level]) continue;
      inside += (double)level * (double)count[level];
      size += (double)count[level];
      double whole = raters * size + weight * mass;
      if (exceeds(inside, bottom, top, whole)) top = inside, bottom = whole;
    }
  }
  thresholds[map] = top / bottom;
  // v >= raters t where v bottom >= raters top.
  int64 bound = bottom > 0 ? (int64)floor(raters * top / bottom) : raters + 1;
  while (bound > 0 && !exceeds(raters, top, (double)(bound - 1), bottom)) --bound;
  while (bound <= raters && exceeds(raters, top, (double)bound, bottom)) ++bound;
  int64 next = bound <= raters && !exceeds((double)bound, bottom, raters, top) ? bound + 1 : bound;
  // Beyond the raters' is beyond any vote: votes that are not checked count as theirs.
  largest[map] = bound <= raters ? bound : NEVER;
  smallest[map] = next <= raters ? next : NEVER;
  ranks[map] = rank;
}
