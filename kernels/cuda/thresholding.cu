// Thresholds of probability maps without sorting: a descent through the digits of their bits.
//
// As on the CPU: a level counts and sums, per value of the next bits, ten at most, the voxels that
// share the digits found so far; within such a bin all values have one exponent, so their sum is exact
// in integers, whatever the order. One block per map then fixes the digit, on the device. VALUE is
// float or double.

#define BINS 1024        // of a level, at most; threads of the block that fixes a digit
#define HALF 26          // bits: sums of larger remainders are kept in two halves
#define TIE 1e-12        // relative; a threshold this close to a value of the map is that value
#define NOWHERE (~0ull)  // a prefix that no value has
#define AHEAD 4          // loads of a thread that are under way at once

struct Sum {  // a float64 and what its rounding lost
  double value, lost;
};

struct Search {
  uint64 prefix;
  int64 above;  // voxels above the bin
  Sum total;    // and their sum
  double mass;  // the sum of the map
  int64 rank;   // NO_RANK, OF_THE_MASS, or given
  int invalid;  // a value is NaN or outside [0, 1]
};

struct Bin {
  uint64 count, low, high;
};

__device__ __forceinline__ Sum add(Sum a, Sum b) {
  double value = a.value + b.value, part = value - a.value;
  double lost = (a.value - (value - part)) + (b.value - part);
  return {value, lost + a.lost + b.lost};
}

__device__ __forceinline__ double value_of(uint64 bits) {
  if (sizeof(VALUE) == 4) return widen((VALUE)__uint_as_float((uint32)bits));
  return __longlong_as_double((int64)bits);
}

__device__ __forceinline__ uint32 bits_of(float value) { return __float_as_uint(value); }
__device__ __forceinline__ uint64 bits_of(double value) { return __double_as_longlong(value); }
typedef decltype(bits_of((VALUE)0)) Bits;

// --- the descent ------------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(THREADS)
    begin_searches(int64 maps, int64 rank, Search* searches, Bin* tables) {
  for (int64 map = blockIdx.x; map < maps; map += gridDim.x) {
    if (threadIdx.x == 0) searches[map] = {0, 0, {0, 0}, -1, rank, 0};
    for (int bin = threadIdx.x; bin < BINS; bin += THREADS) tables[map * BINS + bin] = {0, 0, 0};
  }
}

// Add to a number of 64 bits in shared memory, which is quick with words of 32 alone: the lower
// words of all bins come first, then the upper.
__device__ __forceinline__ void add_wide(uint32* words, uint32 bin, uint64 value) {
  uint32 low = (uint32)value;
  uint32 high = (uint32)(value >> 32);
  if (low) high += atomicAdd(words + bin, low) + low < low;
  if (high) atomicAdd(words + BINS + bin, high);
}

__device__ __forceinline__ uint64 read_wide(const uint32* words, int bin) {
  return (uint64)words[BINS + bin] << 32 | words[bin];
}

// Voxels in a row that share a digit: one update of the table for all of them.
struct Streak {
  uint32 digit, count;
  uint64 low, high;

  __device__ __forceinline__ void flush(uint32* counts, uint32* lows, uint32* highs) const {
    if (!count) return;
    atomicAdd(counts + digit, count);
    add_wide(lows, digit, low);
    add_wide(highs, digit, high);
  }
};

// Count the voxels per digit, and sum what is left of their bits: tables (maps, BINS).
extern "C" __global__ void __launch_bounds__(THREADS)
    tally(const VALUE* values, int64 maps, int64 voxels, int shift, int width, int first_level,
          Search* searches, Bin* tables) {
  DYNAMIC_SHARED(arena);
  uint32* counts = (uint32*)arena;
  uint32* lows = counts + BINS;
  uint32* highs = lows + 2 * BINS;
  const int bins = 1 << width;
  const Bits sign = (Bits)1 << (8 * sizeof(VALUE) - 1), one = bits_of((VALUE)1);
  const Bits rest = ((Bits)1 << shift) - 1, half = ((Bits)1 << HALF) - 1;
  for (int64 map = blockIdx.y; map < maps; map += gridDim.y) {
    uint64 prefix = searches[map].prefix;
    if (prefix == NOWHERE) continue;
    for (int word = threadIdx.x; word < 5 * BINS; word += THREADS) counts[word] = 0;
    __syncthreads();
    Streak streak = {0, 0, 0, 0};
    bool invalid = false;
    int64 stride = (int64)gridDim.x * THREADS;
    const VALUE* from = values + map * voxels;
    for (int64 i = (int64)blockIdx.x * THREADS + threadIdx.x; i < voxels; i += AHEAD * stride) {
      VALUE ahead[AHEAD];
#pragma unroll
      for (int k = 0; k < AHEAD; ++k) ahead[k] = i + k * stride < voxels ? from[i + k * stride] : 0;
#pragma unroll
      for (int k = 0; k < AHEAD; ++k) {
        Bits bits = bits_of(ahead[k]);
        if (first_level) invalid |= bits > one && bits != sign;  // NaN and negative ones as well
        bits &= ~sign;  // -0.0 is 0
        if (bits == 0 || bits >> (shift + width) != prefix) continue;
        uint32 digit = (uint32)(bits >> shift) & (uint32)(bins - 1);
        if (digit != streak.digit) {
          streak.flush(counts, lows, highs);
          streak = {digit, 0, 0, 0};
        }
        streak.count += 1;
        streak.low += bits & rest & half;
        streak.high += (bits & rest) >> HALF;
      }
    }
    streak.flush(counts, lows, highs);
    if (invalid) atomicOr((uint32*)&searches[map].invalid, 1u);
    __syncthreads();
    for (int bin = threadIdx.x; bin < bins; bin += THREADS) {
      if (!counts[bin]) continue;
      Bin* to = tables + map * BINS + bin;
      atomicAdd(&to->count, (uint64)counts[bin]);
      atomicAdd(&to->low, read_wide(lows, bin));
      atomicAdd(&to->high, read_wide(highs, bin));
    }
    __syncthreads();
  }
}

// Take a bin out of its table, which the next level expects empty. Also give its edge, of these bits,
// and the sum of its values: of one exponent, they were tallied in units of their last bit.
__device__ __forceinline__ Bin take_bin(Bin* from, uint64 bits, double* edge, Sum* sum) {
  Bin bin = *from;
  *from = {0, 0, 0};
  *edge = value_of(bits);
  double unit = value_of(bits + 1) - *edge;
  double above_edge = ((double)bin.low + (double)bin.high * (1 << HALF)) * unit;
  *sum = {(double)bin.count * *edge + above_edge, 0};
  return bin;
}

// Give each thread of a block the sums and counts of all up to it, in log2(BINS) steps: as Hillis and
// Steele do, and so in one order, whatever a map has.
__device__ __forceinline__ void inclusive_scan(Sum* sums, int64* counts) {
  int me = threadIdx.x;
  __syncthreads();
  for (int step = 1; step < BINS; step *= 2) {
    Sum left = {0, 0};
    int64 number = 0;
    if (me >= step) left = sums[me - step], number = counts[me - step];
    __syncthreads();
    sums[me] = add(left, sums[me]);
    counts[me] += number;
    __syncthreads();
  }
}

// Choose one of the block's bins that have voxels: the first that is found or, for a root, else the
// last; -1 where there is none.
__device__ __forceinline__ int choose_bin(const Search& search, const Bin& bin, bool found,
                                          int* chosen) {
  int me = threadIdx.x;
  if (bin.count) {
    if (found) atomicMin(chosen, me);
    atomicMax(chosen + 1, me);
  }
  __syncthreads();
  return chosen[0] < BINS ? chosen[0] : search.rank >= 0 ? -1 : chosen[1];
}

// The root, as the search found it: in the bin at `edge`, below what it has above. The bin's voxels
// belong to the optimal set, or are as good as out of it, or are out; `with` is the ratio with them.
__device__ __forceinline__ double root_in(const Search& search, double weight, double edge,
                                          double with) {
  double without =
      (search.total.value + search.total.lost) / (search.above + weight * search.mass);
  double threshold = search.above > 0 && without > with ? without : with;
  return fabs(threshold - edge) <= TIE * threshold ? edge : threshold;
}

// Keep how far the search of a map is. At the last level it ends: nothing reaches the threshold of
// rank 0, infinity, and invalid values have none, NaN.
__device__ __forceinline__ void store_search(const Search& search, int64 map, int last_level,
                                             Search* searches, double* thresholds, int64* ranks) {
  searches[map] = search;
  if (!last_level) return;
  if (search.rank == 0) thresholds[map] = __longlong_as_double(0x7ff0000000000000ll);
  if (search.invalid) thresholds[map] = __longlong_as_double(0x7ff8000000000000ll);
  ranks[map] = search.rank;
}

// Fix the next digit of each map, a block for each; thread 0 has the highest bin. With a rank, the
// bin is that of the rank-th largest value; else that of the least value at or above the root of
// sum (m - t)+ = t weight sum m or, if all values are above it, the last.
extern "C" __global__ void __launch_bounds__(BINS)
    descend(int64 maps, int shift, int width, double weight, Search* searches, Bin* tables,
            int last_level, double* thresholds, int64* ranks) {
  DYNAMIC_SHARED(arena);
  Sum* sums = (Sum*)arena;
  int64* counts = (int64*)(sums + BINS);
  int* chosen = (int*)(counts + BINS);  // the first bin that is found, the last that has voxels
  int me = threadIdx.x, bins = 1 << width;
  for (int64 map = blockIdx.x; map < maps; map += gridDim.x) {
    Search search = searches[map];
    Bin bin = {0, 0, 0};
    double edge = 0;
    if (me < bins && search.prefix != NOWHERE) {
      uint64 bits = (search.prefix << width | (uint64)(bins - 1 - me)) << shift;
      bin = take_bin(tables + map * BINS + (bins - 1 - me), bits, &edge, sums + me);
    } else {
      sums[me] = {0, 0};
    }
    counts[me] = (int64)bin.count;
    if (me == 0) chosen[0] = BINS, chosen[1] = -1;
    inclusive_scan(sums, counts);
    if (search.mass < 0) {
      search.mass = sums[BINS - 1].value + sums[BINS - 1].lost;
      if (search.rank == OF_THE_MASS) search.rank = (int64)(search.mass + 0.5);
    }
    int64 count = search.above + counts[me];
    Sum total = add(search.total, sums[me]);
    double reached = total.value + total.lost, size = count + weight * search.mass;
    bool found = search.rank >= 0 ? count >= search.rank : reached >= edge * size * (1 - 0.5 * TIE);
    int best = choose_bin(search, bin, found, chosen);
    if (me == (best < 0 ? 0 : best)) {
      double threshold = edge;
      if (best < 0) {
        threshold = search.rank >= 0 ? 0.0 : 0.5;
        search.prefix = NOWHERE;
      } else {
        if (me > 0) {
          search.above += counts[me - 1];
          search.total = add(search.total, sums[me - 1]);
        }
        search.prefix = search.prefix << width | (uint64)(bins - 1 - me);
        if (search.rank < 0) threshold = root_in(search, weight, edge, reached / size);
      }
      // Once nowhere, a map keeps the threshold that it was given then.
      if (best >= 0 || searches[map].prefix != NOWHERE) thresholds[map] = threshold;
      store_search(search, map, last_level, searches, thresholds, ranks);
    }
    __syncthreads();
  }
}

// --- scores -----------------------------------------------------------------------------------------

// Per block: the sum of the values inside the segmentation, of all, and its size: (maps, blocks, 3).
extern "C" __global__ void __launch_bounds__(THREADS)
    overlap(const unsigned char* segmentation, const VALUE* values, int64 maps, int64 voxels,
            double* partial) {
  DYNAMIC_SHARED(arena);
  double* sums = (double*)arena;  // (3, THREADS)
  int64 stride = (int64)gridDim.x * THREADS;
  for (int64 map = blockIdx.y; map < maps; map += gridDim.y) {
    double inside = 0, total = 0, size = 0;
    for (int64 i = (int64)blockIdx.x * THREADS + threadIdx.x; i < voxels; i += stride) {
      double value = widen(values[map * voxels + i]);
      bool in = segmentation[map * voxels + i];
      total += value;
      inside += in ? value : 0.0;
      size += in;
    }
    sums[threadIdx.x] = inside;
    sums[THREADS + threadIdx.x] = total;
    sums[2 * THREADS + threadIdx.x] = size;
    add_partials(sums, THREADS, 3);
    if (threadIdx.x < 3)
      partial[(map * gridDim.x + blockIdx.x) * 3 + threadIdx.x] = sums[threadIdx.x * THREADS];
    __syncthreads();
  }
}

enum Score { F_BETA, ACCURACY, IOU };

// The scores of all maps, from the blocks of each, (maps, parts, 3), added in their order. The
// formulas are those of gfnoise/_shared/scores.py.
extern "C" __global__ void __launch_bounds__(THREADS)
    score(const double* partial, int64 maps, int parts, int64 voxels, int metric, double weight,
          double* scores) {
  int64 map = (int64)blockIdx.x * THREADS + threadIdx.x;
  if (map >= maps) return;
  double inside = 0, mass = 0, size = 0;
  for (const double* part = partial + map * parts * 3; part < partial + (map + 1) * parts * 3;
       part += 3) {
    inside += part[0];
    mass += part[1];
    size += part[2];
  }
  double top = (1 + weight) * inside, bottom = size + weight * mass;
  if (metric == ACCURACY) top = voxels - size - mass + 2 * inside, bottom = (double)voxels;
  if (metric == IOU) top = inside, bottom = size + mass - inside;
  scores[map] = bottom == 0 ? 1.0 : top / bottom;
}
