// Separable, symmetric filters: x and y fused in shared memory, then columns along z.
//
// A thread computes eight neighbours along the axis that is filtered: eight new values are loaded
// for 64 multiply-adds. What lies outside an axis is resolved where it is loaded. A block whose
// values are all the same, as most of a label's are, stores that value.

#define THREADS 256
#define EIGHT 8
#define WIDE 64  // outputs of a block along x
#define HIGH 32  // and along y
#define ITEMS 8  // filters that are passed by value at once
#define FEW 64   // taps that are summed up on their own: one long sum of float32 would lose digits

struct Taps {
  double sigma, beyond;
  int radius, integrated;
};

struct Filters {
  Taps of[ITEMS][3];
};

enum Mode { REFLECT, CONSTANT, NEAREST, MIRROR, WRAP };

// What is filtered: an array, or the indicator of one label per volume.
enum Values { PLAIN, OF_LABELS, FILTERED };  // FILTERED: an indicator's own, of an earlier pass

struct Indicator {
  uint64 first;            // the label of an item's first volume
  uint64 largest, absent;  // labels that the dtype cannot hold, and one to be left out, are nowhere
  uint64 outside;          // the label of the outside
  int values, has_absent, has_outside;
};

struct Volumes {
  int nz, ny, nx;
  int mode[3];
  int classes;   // volumes of an item
  int64 first;   // the number of the first volume, of all
};

// --- weights --------------------------------------------------------------------------------------

__device__ double weight_of(const Taps& taps, int d) {
  double root = taps.sigma * 1.4142135623730951;
  if (taps.radius == 0) return 1.0;
  if (taps.integrated) {
    // Upper tails, not the distribution: their differences keep their digits.
    if (d == 0) return erf(0.5 / root);
    double tail = erfc((d - 0.5) / root) / 2;
    return d < taps.radius ? tail - erfc((d + 0.5) / root) / 2 : tail;
  }
  double distance = d / taps.sigma;
  return d == taps.radius && taps.beyond != 0 ? taps.beyond : exp(-0.5 * distance * distance);
}

// Fill (items, 3, room) with w[-radius..radius], and (items, 3) with the radii; a block per filter.
extern "C" __global__ void __launch_bounds__(THREADS)
    filter_weights(Filters given, int first, int room, REAL* weights, int* radii) {
  DYNAMIC_SHARED(arena);
  double* partial = (double*)arena;
  const Taps& taps = given.of[blockIdx.x][blockIdx.y];
  double sum = 0;
  for (int d = threadIdx.x; d <= taps.radius; d += THREADS) sum += (d ? 2 : 1) * weight_of(taps, d);
  partial[threadIdx.x] = sum;
  add_partials(partial, THREADS, 1);
  double total = taps.integrated ? 1.0 : partial[0];  // masses sum to 1 as they are
  int filter = (first + blockIdx.x) * 3 + blockIdx.y;
  REAL* middle = weights + (int64)filter * room + taps.radius;
  for (int d = threadIdx.x; d <= taps.radius; d += THREADS)
    middle[d] = middle[-d] = (REAL)(weight_of(taps, d) / total);
  if (threadIdx.x == 0) radii[filter] = taps.radius;
}

// --- what lies outside ------------------------------------------------------------------------------

__device__ __forceinline__ int modulo(int64 index, int64 period) {
  int64 rest = index % period;
  return (int)(rest < 0 ? rest + period : rest);
}

// The index whose value stands for `index`; -1 is the constant's.
__device__ __forceinline__ int source_of(int index, int size, int mode) {
  if (index >= 0 && index < size) return index;
  if (mode == CONSTANT) return -1;
  if (mode == NEAREST) return clamp(index, size);
  if (mode == WRAP) return modulo(index, size);
  if (mode == REFLECT) return min(modulo(index, 2ll * size), modulo(-(index + 1ll), 2ll * size));
  return size > 1 ? min(modulo(index, 2ll * size - 2), modulo(-(int64)index, 2ll * size - 2)) : 0;
}

// The values of one volume, as the filter sees them.
struct Input {
  const SOURCE* values;
  REAL fill;
  SOURCE label;
  bool indicator, nowhere;

  __device__ Input(const SOURCE* volume, const Indicator& of, int number, REAL cval)
      : values(volume), fill(cval), label(0), indicator(of.values == OF_LABELS), nowhere(false) {
    if (of.values == PLAIN) return;
    uint64 wanted = of.first + number;
    label = (SOURCE)wanted;
    nowhere = wanted > of.largest || (of.has_absent && wanted == of.absent);
    fill = of.has_outside && wanted == of.outside && !nowhere ? (REAL)1 : (REAL)0;
  }

  // Of what is there, what is filtered. An indicator's labels are integers.
  __device__ __forceinline__ REAL seen(SOURCE value) const {
    if ((SOURCE)0.5 == 0 && indicator) return value == label && !nowhere ? (REAL)1 : (REAL)0;
    return (REAL)value;
  }

  __device__ __forceinline__ REAL at(INDEX i) const { return seen(values[i]); }
};

// --- filters ----------------------------------------------------------------------------------------

// Weights are loaded sixteen bytes at once, and lines stored.
struct alignas(16) Pack {
  REAL of[16 / sizeof(REAL)];
};

// Add the taps [0, EIGHT), of which `number` are left, to eight sums.
__device__ __forceinline__ void add_taps(const REAL* weights, const REAL value[2 * EIGHT], int number,
                                         REAL sum[EIGHT]) {
  const int each = 16 / sizeof(REAL);
#pragma unroll
  for (int first = 0; first < EIGHT; first += each) {
    if (first >= number) break;
    Pack pack = *(const Pack*)(weights + first);
#pragma unroll
    for (int i = 0; i < each; ++i) {
      if (first + i >= number) break;
#pragma unroll
      for (int k = 0; k < EIGHT; ++k)
        sum[k] = multiply_add(pack.of[i], value[first + i + k], sum[k]);
    }
  }
}

// Eight outputs from the values load(0), load(1), ..., the first of which is `radius` before the
// first output. Taps beyond the last are never multiplied: what is there may be infinite. Where a
// `sparse` array is zero, nothing is added: most of an indicator is. One tap alone keeps every bit:
// arithmetic would flush what is subnormal.
template <typename Load>
__device__ __forceinline__ void correlate(const Load& load, const REAL* weights, int radius,
                                          bool sparse, REAL sum[EIGHT]) {
  if (radius == 0) {
#pragma unroll
    for (int k = 0; k < EIGHT; ++k) sum[k] = load(k);
    return;
  }
  REAL value[2 * EIGHT], total[EIGHT] = {0};
  bool near = false;  // whether there is anything in the first eight values
#pragma unroll
  for (int i = 0; i < EIGHT; ++i) sum[i] = 0, value[i] = load(i), near |= value[i] != 0;
  int start = 0;
  for (; start + EIGHT <= 2 * radius; start += EIGHT) {
    bool far = false;
#pragma unroll
    for (int i = 0; i < EIGHT; ++i) value[EIGHT + i] = load(start + EIGHT + i);
    if (sparse) {
#pragma unroll
      for (int i = 0; i < EIGHT; ++i) far |= value[EIGHT + i] != 0;
    }
    if (!sparse || near || far) add_taps(weights + start, value, EIGHT, sum);
    near = far;
#pragma unroll
    for (int i = 0; i < EIGHT; ++i) value[i] = value[EIGHT + i];
    if (sizeof(REAL) == 4 && start % FEW == FEW - EIGHT) {
#pragma unroll
      for (int k = 0; k < EIGHT; ++k) total[k] += sum[k], sum[k] = 0;
    }
  }
#pragma unroll
  for (int i = 0; i < EIGHT; ++i) value[EIGHT + i] = load(start + EIGHT + i);
  add_taps(weights + start, value, 2 * radius + 1 - start, sum);
#pragma unroll
  for (int k = 0; k < EIGHT; ++k) sum[k] += total[k];
}

// Where in a plane the outputs of a block are, HIGH x WIDE, and how far its filters reach beyond them.
struct Tile {
  int64 volume, item;
  INDEX plane;  // where the plane starts in its volume
  int top, left, radius_y, radius_x;

  __device__ __forceinline__ Tile(const Volumes& of, int64 work, const int* radii) {
    int across = ceil_div(of.nx, WIDE), down = ceil_div(of.ny, HIGH);
    left = (int)(work % across) * WIDE, top = (int)(work / across % down) * HIGH;
    int z = (int)(work / across / down % of.nz);
    volume = work / across / down / of.nz, item = (of.first + volume) / of.classes;
    radius_y = radii[item * 3 + 1], radius_x = radii[item * 3 + 2];
    plane = (INDEX)z * of.ny * of.nx;
  }

  __device__ __forceinline__ int rows() const { return HIGH + 2 * radius_y; }
};

// Load what a tile is filtered from, with what lies outside: (rows, width). Give its first value, and
// note whether another differs from it.
__device__ __forceinline__ REAL load_tile(const Input& input, const Volumes& of, const Tile& tile,
                                          int width, REAL* values, int* row_of, int* differ) {
  const int rows = tile.rows(), columns = WIDE + 2 * tile.radius_x;
  for (int row = threadIdx.x; row < rows; row += THREADS)
    row_of[row] = source_of(tile.top - tile.radius_y + row, of.ny, of.mode[1]);
  if (threadIdx.x == 0) *differ = 0;
  __syncthreads();
  auto load = [&](int row, int x) {
    int y = row_of[row];
    return y < 0 || x < 0 ? input.fill : input.at(tile.plane + (INDEX)y * of.nx + x);
  };
  REAL first = load(0, source_of(tile.left - tile.radius_x, of.nx, of.mode[2]));
  bool different = false;
  for (int column = threadIdx.x % 32; column < columns; column += 32) {
    int x = source_of(tile.left - tile.radius_x + column, of.nx, of.mode[2]);
#pragma unroll 4
    for (int row = threadIdx.x / 32; row < rows; row += THREADS / 32) {
      REAL value = load(row, x);
      values[row * width + column] = value;
      different |= !(value == first);
    }
  }
  if (different) atomicOr(differ, 1);
  __syncthreads();
  return first;
}

// Store one value as all outputs of a tile.
__device__ __forceinline__ void store_value(REAL value, const Volumes& of, const Tile& tile,
                                            REAL* out) {
  int x = tile.left + threadIdx.x % WIDE, bottom = min(tile.top + HIGH, of.ny);
  if (x < of.nx)
    for (int y = tile.top + threadIdx.x / WIDE; y < bottom; y += THREADS / WIDE)
      out[(INDEX)y * of.nx + x] = value;
}

// Filter a tile's rows along x: (rows, width) -> (rows, WIDE + 1).
__device__ __forceinline__ void filter_rows(const REAL* values, const Tile& tile, int width,
                                            const REAL* weights, bool sparse, REAL* lines) {
  const int rows = tile.rows();
  for (int unit = threadIdx.x; unit < rows * (WIDE / EIGHT); unit += THREADS) {
    int row = unit % rows, x = unit / rows * EIGHT;
    const REAL* line = values + row * width + x;
    REAL sum[EIGHT];
    correlate([&](int i) { return line[i]; }, weights, tile.radius_x, sparse, sum);
#pragma unroll
    for (int i = 0; i < EIGHT; ++i) lines[row * (WIDE + 1) + x + i] = sum[i];
  }
}

// Filter a tile's columns along y, and store what is in the plane.
__device__ __forceinline__ void filter_columns(const REAL* lines, const Volumes& of,
                                               const Tile& tile, const REAL* weights, bool sparse,
                                               REAL cap, REAL* out) {
  for (int unit = threadIdx.x; unit < WIDE * (HIGH / EIGHT); unit += THREADS) {
    int x = unit % WIDE, y = unit / WIDE * EIGHT;
    const REAL* line = lines + y * (WIDE + 1) + x;
    REAL sum[EIGHT];
    correlate([&](int i) { return line[i * (WIDE + 1)]; }, weights, tile.radius_y, sparse, sum);
#pragma unroll
    for (int i = 0; i < EIGHT; ++i)
      if (tile.left + x < of.nx && tile.top + y + i < of.ny)
        out[(INDEX)(tile.top + y + i) * of.nx + tile.left + x] = sum[i] > cap ? cap : sum[i];
  }
}

// Filter planes along x and y: (volumes, z, y, x), blocks of HIGH x WIDE outputs.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    filter_planes(const SOURCE* source, Volumes of, int64 blocks_of_work, Indicator indicator,
                  const REAL* weights, const int* radii, int room, int width,
                  REAL cval, REAL cap, REAL* out) {
  DYNAMIC_SHARED(arena);
  REAL* values = (REAL*)arena;  // (rows, width), of an odd width: a column meets all banks
  const bool sparse = indicator.values != PLAIN;
  int64 voxels = (int64)of.nz * of.ny * of.nx;
  for (int64 work = blockIdx.x; work < blocks_of_work; work += gridDim.x) {
    const Tile tile(of, work, radii);
    const REAL* weights_y = weights + (tile.item * 3 + 1) * room;
    int padded = HIGH + (2 * tile.radius_y / EIGHT + 1) * EIGHT;
    REAL* lines = values + tile.rows() * width;         // (padded rows, WIDE + 1)
    int* row_of = (int*)(lines + padded * (WIDE + 1));  // each row's row of the source
    int* differ = row_of + tile.rows();
    Input input(source + (indicator.values == OF_LABELS ? tile.item : tile.volume) * voxels,
                indicator, (int)((of.first + tile.volume) % of.classes), cval);
    REAL first = load_tile(input, of, tile, width, values, row_of, differ);
    REAL* to = out + tile.volume * voxels + tile.plane;
    if (*differ) {
      filter_rows(values, tile, width, weights_y + room, sparse, lines);
      __syncthreads();
      filter_columns(lines, of, tile, weights_y, sparse, cap, to);
    } else {
      store_value(first, of, tile, to);
    }
    __syncthreads();
  }
}

// Store the outputs that are within a line: side by side, sixteen bytes at once where they may be.
__device__ __forceinline__ void store_eight(const REAL value[EIGHT], REAL* to, int64 step,
                                            int number) {
  const int each = 16 / sizeof(REAL);
  if (step == 1 && number >= EIGHT && (uint64)to % 16 == 0) {
#pragma unroll
    for (int first = 0; first < EIGHT; first += each) {
      Pack pack;
#pragma unroll
      for (int i = 0; i < each; ++i) pack.of[i] = value[first + i];
      *(Pack*)(to + first) = pack;
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < EIGHT; ++i)
    if (i < number) to[i * step] = value[i];
}

// Filter along one axis (0: z, 1: y, 2: x); a thread has eight outputs along it.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    filter_lines(const SOURCE* source, Volumes of, int axis, int64 volumes, Indicator indicator,
                 const REAL* weights, const int* radii, int room, REAL cval, REAL cap,
                 REAL* out) {
  int size = axis == 0 ? of.nz : axis == 1 ? of.ny : of.nx;
  int mode = axis == 0 ? of.mode[0] : axis == 1 ? of.mode[1] : of.mode[2];
  int64 inner = axis == 0 ? (int64)of.ny * of.nx : axis == 1 ? of.nx : 1;
  int64 voxels = (int64)of.nz * of.ny * of.nx, lines = voxels / size;
  int64 unit = (int64)blockIdx.x * THREADS + threadIdx.x;
  // Neighbours along x are neighbouring threads: lines first or, along x, what a line is cut into.
  int cuts = ceil_div(size, EIGHT);
  if (unit >= lines * cuts) return;
  int64 line = axis == 2 ? unit / cuts : unit % lines;
  int start = (int)(axis == 2 ? unit % cuts : unit / lines) * EIGHT;
  int64 base = line / inner * inner * size + line % inner;
  for (int64 volume = blockIdx.y; volume < volumes; volume += gridDim.y) {
    int64 item = (of.first + volume) / of.classes;
    int radius = radii[item * 3 + axis];
    Input input(source + (indicator.values == OF_LABELS ? item : volume) * voxels, indicator,
                (int)((of.first + volume) % of.classes), cval);
    const REAL* own = weights + (item * 3 + axis) * room;
    const bool sparse = indicator.values != PLAIN;
    REAL sum[EIGHT];
    int first = start - radius, last = first + (2 * radius / EIGHT + 2) * EIGHT;
    if (first >= 0 && last <= size) {  // nothing is outside
      const SOURCE* from = input.values + base + first * inner;
      correlate([=](int i) { return input.seen(from[i * inner]); }, own, radius, sparse, sum);
    } else {
      auto load = [=](int i) {
        int at = source_of(first + i, size, mode);
        return at < 0 ? input.fill : input.at((INDEX)(base + at * inner));
      };
      correlate(load, own, radius, false, sum);
    }
#pragma unroll
    for (int i = 0; i < EIGHT; ++i) sum[i] = sum[i] > cap ? cap : sum[i];
    store_eight(sum, out + volume * voxels + base + start * inner, inner, size - start);
  }
}

// Give the mass of ignored sources to a voxel's own label, and empty the ignored voxels:
// (items, classes, voxels), of the labels from `first` on.
extern "C" __global__ void __launch_bounds__(THREADS)
    keep_ignored(const SOURCE* codes, SOURCE ignore, uint64 first, uint64 classes,
                 int64 items,
                 int64 voxels, const REAL* ignored, REAL* out) {
  int64 i = (int64)blockIdx.x * THREADS + threadIdx.x;
  if (i >= voxels) return;
  for (int64 item = blockIdx.y; item < items; item += gridDim.y) {
    SOURCE code = codes[item * voxels + i];
    REAL* to = out + item * classes * voxels + i;
    if (code == ignore) {
      for (uint64 c = 0; c < classes; ++c) to[c * voxels] = 0;
    } else if ((uint64)code >= first && (uint64)code - first < classes) {
      REAL* own = to + (int64)(code - first) * voxels;
      REAL sum = *own + ignored[item * voxels + i];
      *own = sum < (REAL)1 ? sum : (REAL)1;
    }
  }
}
