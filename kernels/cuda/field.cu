// The Gaussian field, and labels moved by it: the displacement of a sample is never stored.
//
// A component is sum_jkl Z[j,k,l] A0[j,z] A1[k,y] A2[l,x]. The first axis is contracted for all
// planes, the second for the rows of a block, the last where a voxel is decided. Every sum runs
// over its terms in one order, with explicit multiply-adds: the same bits in every kernel here.
//
// Most of a volume is far from any boundary. For a run of eight voxels along x, the displacement
// at its nodes and a bound on its curvature confine the run's sources to a box. Where the box
// holds a single label, that label is stored; the other runs are listed, and their voxels shared
// by the threads of the block.

#define RUN 8       // voxels along x that are decided together
#define ROWS 16     // rows of a block
#define THREADS 256
#define ITEMS 16    // streams that are passed by value at once
#define LANES 32
#define TILE_RUNS 16  // runs along x of a block, at most: with the rows, one for each thread
#define PI 3.14159265358979323846
#define DIAGONAL 0.41421360f

struct Stream {  // what makes the noise of an item; per axis (z, y, x)
  uint64 seed;
  double length[3], period[3];  // voxels
  float amplitude[3];
  int harmonics[3], terms[3];
  uint32 number;
  Cells cells;
};

struct Streams {
  Stream of[ITEMS];
};

struct Field {  // what all streams of a call share; per axis (z, y, x)
  int components, raters;
  int size[3], start[3], step[3], count[3];  // the grid, and the window of it
  int terms[3];                              // room for the terms of an item
  int padded[3];                             // room for the voxels of a basis
  int nodes, spread, parts;                  // of a row; voxels between two; pieces of a run
};

// --- streams and bases --------------------------------------------------------------------------

#ifndef LABEL

struct Cut {  // where a spectrum is cut; the numbers of gfnoise/_spectrum.py
  double padding, tail, white, constant;
};

// Cut the spectrum of one axis for a length scale that the host does not know. Of what the kept
// harmonics and the periods were for the shortest, `room` terms are enough.
__device__ __forceinline__ void cut_spectrum(Stream& stream, int axis, double length, int size, int room,
                             const Cut& cut) {
  length = fmin(fmax(length, cut.white), cut.constant);
  double period = ceil(size - 1 + cut.padding * length), unit = 2 * PI / period * length;
  int count = (int)ceil(6 / unit) + 1;  // beyond, nothing is left in float32
  double total = 0, tail = 0;
  for (int k = count - 1; k >= 0; --k) total += (k ? 2 : 1) * exp(-0.5 * (unit * k) * (unit * k));
  int kept = count;
  while (kept > 1) {
    double w = unit * (kept - 1);
    tail += 2 * exp(-0.5 * w * w);
    if (tail / total >= cut.tail) break;
    --kept;
  }
  stream.length[axis] = length;
  stream.period[axis] = period;
  stream.harmonics[axis] = kept;
  int64 highest = min((int64)(kept - 1), (int64)period / 2);
  stream.terms[axis] = min((int)(2 * highest + 1), room);
}

// Bring the streams of some items to the device; a thread for each. Seeds and strengths, (items, 2,
// ndim) of amplitudes and length scales, may be there already.
extern "C" __global__ void prepare_streams(Field f, Streams given, const int64* seeds, int seed_step,
                                           const double* strengths, Cut cut, int first, int count,
                                           Stream* streams) {
  int i = threadIdx.x;
  if (i >= count) return;
  Stream& stream = streams[first + i];  // there, as axes are found by their numbers
  stream = given.of[i];
  if (seeds) stream.seed = (uint64)seeds[(int64)(first + i) * seed_step];
  if (strengths) {
    int ndim = f.components;
    const double* own = strengths + (int64)(first + i) * 2 * ndim;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
      if (axis < 3 - ndim) continue;
      stream.amplitude[axis] = (float)fmin(own[axis - 3 + ndim], 1e30);
      cut_spectrum(stream, axis, own[axis - 3 + 2 * ndim], f.size[axis], f.terms[axis], cut);
    }
  }
}

#endif

// Where an item's bases are: A0, A1, A2, then A2 at the nodes, then the weights of the bound.
struct Bases {
  float *z, *y, *x, *nodes, *curvature;

  __device__ Bases(const Field& f, float* bases, int64 item) {
    int64 total = (int64)f.terms[0] * f.padded[0] + (int64)f.terms[1] * f.padded[1] +
                  (int64)f.terms[2] * (f.padded[2] + f.nodes + 1);
    z = bases + (total + 3) / 4 * 4 * item;  // four floats are loaded at once
    y = z + (int64)f.terms[0] * f.padded[0];
    x = y + (int64)f.terms[1] * f.padded[1];
    nodes = x + (int64)f.terms[2] * f.padded[2];
    curvature = nodes + (int64)f.terms[2] * f.nodes;
  }
};

// Add a factor times four values to four sums.
__device__ __forceinline__ void add_four(float factor, const float4& value, float sum[4]) {
  sum[0] = fmaf(factor, value.x, sum[0]);
  sum[1] = fmaf(factor, value.y, sum[1]);
  sum[2] = fmaf(factor, value.z, sum[2]);
  sum[3] = fmaf(factor, value.w, sum[3]);
}

#ifndef LABEL

// The weight of frequency k: the spectrum, folded where harmonics alias at whole voxels.
__device__ double folded_weight(const Stream& stream, int axis, int k) {
  double unit = 2 * PI / stream.period[axis] * stream.length[axis];
  int64 period = (int64)stream.period[axis];
  double sum = 0;
  for (int64 turn = 0; turn * period + k < stream.harmonics[axis]; ++turn) {
    double low = unit * (double)(turn * period + k);
    sum += (turn == 0 && k == 0 ? 1.0 : 2.0) * exp(-0.5 * low * low);
    int64 next = (turn + 1) * period - k;
    if (k == 0 || next == turn * period + k) continue;  // the same harmonic, counted already
    double high = unit * (double)next;
    if (next < stream.harmonics[axis]) sum += 2.0 * exp(-0.5 * high * high);
  }
  return sum;
}

// Fill the basis of one axis (blockIdx.y < 3), or the nodes and the weights of the bound, of one
// item (blockIdx.x).
extern "C" __global__ void __launch_bounds__(THREADS)
    tabulate_bases(Field f, const Stream* streams, float* bases) {
  DYNAMIC_SHARED(arena);
  double* partial = (double*)arena;
  const Stream& stream = streams[blockIdx.x];
  Bases to(f, bases, blockIdx.x);
  bool at_nodes = blockIdx.y == 3;
  int axis = at_nodes ? 2 : blockIdx.y;
  int terms = stream.terms[axis], frequencies = (terms + 1) / 2;

  double sum = 0;
  for (int k = threadIdx.x; k < frequencies; k += blockDim.x) sum += folded_weight(stream, axis, k);
  partial[threadIdx.x] = sum;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
  }
  double total = partial[0];

  int count = at_nodes ? f.nodes : f.padded[axis];
  int step = at_nodes ? f.spread : f.step[axis];
  float* values = at_nodes ? to.nodes : axis == 0 ? to.z : axis == 1 ? to.y : to.x;
  double first = f.start[axis] - 0.5 * (f.size[axis] - 1);
  for (int k = threadIdx.x / LANES; k < frequencies; k += THREADS / LANES) {
    double scale = sqrt(folded_weight(stream, axis, k) / total);
    float* cosines = values + (int64)(k ? 2 * k - 1 : 0) * count;
    for (int i = threadIdx.x % LANES; i < count; i += LANES) {
      double sine, cosine;
      sincospi(2 * k * (first + (double)step * i) / stream.period[axis], &sine, &cosine);
      cosines[i] = (float)(scale * cosine);
      if (k) cosines[count + i] = (float)(scale * sine);
    }
    if (at_nodes && threadIdx.x % LANES == 0) {
      double frequency = 2 * PI / stream.period[axis] * k;
      double bend = frequency * frequency * ((double)f.spread * f.spread / 8);
      // Between two points at a distance h, a function leaves the interval of its values there by
      // at most h²/8 of its largest second derivative; the second part covers rounding.
      float weight = (float)(scale * (bend + terms * (1.0 / 4194304.0)));
      to.curvature[k ? 2 * k - 1 : 0] = weight;
      to.curvature[2 * k] = weight;
    }
  }
}

// --- coefficients and contractions ----------------------------------------------------------------

// Fill (streams, components, j, k, l) with normals times a component's amplitude.
extern "C" __global__ void __launch_bounds__(THREADS)
    draw_coefficients(Field f, const Stream* streams, int first, float* coefficients) {
  int stream_index = first + blockIdx.y;
  const Stream& stream = streams[stream_index / f.raters];
  int64 room = (int64)f.terms[0] * f.terms[1] * f.terms[2];
  float* out = coefficients + (int64)blockIdx.y * f.components * room;
  int64 i = (int64)blockIdx.x * THREADS + threadIdx.x;
  if (i >= room) return;
  int l = (int)(i % f.terms[2]);
  int k = (int)(i / f.terms[2] % f.terms[1]);
  int j = (int)(i / f.terms[2] / f.terms[1]);
  if (j >= stream.terms[0] || k >= stream.terms[1] || l >= stream.terms[2]) return;
  double normal[3];
  uint64 index = (uint64)j << 42 | (uint64)k << 21 | (uint64)l;
  normals(index, stream.number, (uint32)(stream_index % f.raters), stream.seed, normal);
#pragma unroll
  for (int c = 0; c < 3; ++c)
    if (c < f.components)
      out[c * room + i] = (float)normal[c] * stream.amplitude[3 - f.components + c];
}

#define DEEP 8  // planes that a thread contracts at once: a coefficient is loaded once for all

// Contract the first axis: (streams, c, j, k l), (j, z) -> (streams, z, c, k l).
extern "C" __global__ void __launch_bounds__(THREADS)
    contract_planes(Field f, const Stream* streams, int first, const float* bases,
                    const float* coefficients, float* planes) {
  int item = (first + blockIdx.z) / f.raters;
  int terms = streams[item].terms[0];
  const float* basis = Bases(f, (float*)bases, item).z;
  int64 flat = (int64)f.terms[1] * f.terms[2];
  int64 i = (int64)blockIdx.x * THREADS + threadIdx.x;
  if (i >= flat) return;
  for (int start = blockIdx.y * DEEP; start < f.count[0]; start += gridDim.y * DEEP)
    for (int c = 0; c < f.components; ++c) {
      int64 component = (int64)blockIdx.z * f.components + c;
      const float* from = coefficients + component * f.terms[0] * flat + i;
      const float* factor = basis + start;
      float sum[DEEP] = {0};
#pragma unroll 4
      for (int j = 0; j < terms; ++j) {
        add_four(*from, *(const float4*)factor, sum);
        add_four(*from, *(const float4*)(factor + 4), sum + 4);
        from += flat, factor += f.padded[0];
      }
      for (int d = 0; d < DEEP && start + d < f.count[0]; ++d) {
        int64 plane = (int64)blockIdx.z * f.count[0] + start + d;
        planes[(plane * f.components + c) * flat + i] = sum[d];
      }
    }
}

#endif

#define HALF 8  // rows that a thread contracts at once

// Contract the second axis for ROWS rows, the bases of which are `stride` apart:
// (c, k, l), (k, row) -> (c, l, row).
__device__ __forceinline__ void contract_rows(const Field& f, const Stream& stream,
                                              const float* plane, const float* basis, int stride,
                                              float* rows) {
  int terms = stream.terms[2], halves = ROWS / HALF, each = terms * halves;
  for (int unit = threadIdx.x; unit < f.components * each; unit += THREADS) {
    // Neighbours in a row of `rows` are neighbouring threads.
    int c = (unit >= each) + (unit >= 2 * each), l = (unit - c * each) / halves;
    int at = unit % halves * HALF;
    const float* from = plane + c * f.terms[1] * f.terms[2] + l;
    const float* factors = basis + at;
    float sum[HALF] = {0};
#pragma unroll 4
    for (int k = 0; k < stream.terms[1]; ++k) {
      float value = *from;
      add_four(value, *(const float4*)factors, sum);
      add_four(value, *(const float4*)(factors + 4), sum + 4);
      from += f.terms[2], factors += stride;
    }
    float4* to = (float4*)(rows + (c * terms + l) * ROWS + at);
    to[0] = make_float4(sum[0], sum[1], sum[2], sum[3]);
    to[1] = make_float4(sum[4], sum[5], sum[6], sum[7]);
  }
}

// Contract the last axis at one place, for four rows at once: sum_l factor[l] rows[l][row..row+3].
__device__ __forceinline__ float4 contract_four(const float* factor, int stride, const float* rows,
                                                int terms) {
  float4 sum = make_float4(0, 0, 0, 0);
  for (int l = 0; l < terms; ++l) {
    float basis = factor[(int64)l * stride];
    float4 value = *(const float4*)(rows + l * ROWS);
    sum.x = fmaf(basis, value.x, sum.x);
    sum.y = fmaf(basis, value.y, sum.y);
    sum.z = fmaf(basis, value.z, sum.z);
    sum.w = fmaf(basis, value.w, sum.w);
  }
  return sum;
}

// A block's part of the window: ROWS rows of one plane of one stream, `runs` runs of each.
struct Tile {
  int stream, z, y, run;

  __device__ Tile(const Field& f, int64 index, int tile_runs) {
    int across = ceil_div(ceil_div(f.count[2], RUN), tile_runs), down = ceil_div(f.count[1], ROWS);
    run = (int)(index % across) * tile_runs;
    y = (int)(index / across % down) * ROWS;
    z = (int)(index / across / down % f.count[0]);
    stream = (int)(index / across / down / f.count[0]);
  }
};

#ifndef LABEL

// Fill (streams, components, z, y, x). Rows are in shared memory or, of very many terms, in `spare`.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
    displace(Field f, const Stream* streams, int first, const float* bases, const float* planes,
             float* spare, int tile_runs, int64 tiles, float* out) {
  DYNAMIC_SHARED(arena);
  float* rows = spare ? spare + (int64)blockIdx.x * f.components * f.terms[2] * ROWS : (float*)arena;
  for (int64 index = blockIdx.x; index < tiles; index += gridDim.x) {
    Tile tile(f, index, tile_runs);
    int item = (first + tile.stream) / f.raters;
    const Stream& stream = streams[item];
    Bases basis(f, (float*)bases, item);
    int64 flat = (int64)f.components * f.terms[1] * f.terms[2];
    const float* plane = planes + ((int64)tile.stream * f.count[0] + tile.z) * flat;
    contract_rows(f, stream, plane, basis.y + tile.y, f.padded[1], rows);
    __syncthreads();
    int width = min(tile_runs * RUN, f.count[2] - tile.run * RUN), terms = stream.terms[2];
    for (int unit = threadIdx.x; unit < width * (ROWS / 4); unit += THREADS) {
      int x = tile.run * RUN + unit % width, row = unit / width * 4;
      for (int c = 0; c < f.components; ++c) {
        float4 sum = contract_four(basis.x + x, f.padded[2], rows + c * terms * ROWS + row, terms);
        float value[4] = {sum.x, sum.y, sum.z, sum.w};
        int64 component = (int64)tile.stream * f.components + c;
        for (int i = 0; i < 4 && tile.y + row + i < f.count[1]; ++i)
          out[((component * f.count[0] + tile.z) * f.count[1] + tile.y + row + i) * f.count[2] + x] =
              value[i];
      }
    }
    __syncthreads();
  }
}

#else

// --- the table of uniform cells -------------------------------------------------------------------

#define CELLS (THREADS - REACH + 1)  // that a block tabulates: the last threads look ahead for it

// Note each cell's first label, and whether it and the REACH - 1 cells after it along x, as far as
// there are any, hold that label alone: (items, cells).
extern "C" __global__ void __launch_bounds__(THREADS)
    tabulate_cells(const LABEL* volumes, Shape of, const Stream* streams, int items, int64 room,
                   LABEL* low, unsigned char* same) {
  DYNAMIC_SHARED(arena);
  LABEL* label = (LABEL*)arena;
  unsigned char* alike = (unsigned char*)(label + THREADS);
  int64 i = (int64)blockIdx.x * CELLS + threadIdx.x;
  for (int item = blockIdx.y; item < items; item += gridDim.y) {
    const Cells& cells = streams[item].cells;
    uint32 ny = cells.count[1], nx = cells.count[2], place = (uint32)i;
    bool there = i < (int64)cells.count[0] * ny * nx;
    if (there) {
      int at[3] = {(int)(place / nx / ny), (int)(place / nx % ny), (int)(place % nx)};
      int shape[3] = {of.nz, of.ny, of.nx}, start[3], size[3];
#pragma unroll
      for (int axis = 0; axis < 3; ++axis) {
        start[axis] = (cells.first[axis] + at[axis]) << cells.bits[axis];
        size[axis] = min(shape[axis] - start[axis], 1 << cells.bits[axis]);
      }
      const LABEL* corner = volumes + (int64)item * of.nz * of.ny * of.nx +
                            ((INDEX)start[0] * of.ny + start[1]) * of.nx + start[2];
      LABEL first = *corner;
      bool shared = true;
      for (int z = 0; z < size[0]; ++z)
        for (int y = 0; y < size[1]; ++y) {
          const LABEL* row = corner + ((INDEX)z * of.ny + y) * of.nx;
#pragma unroll 4
          for (int x = 0; x < size[2]; ++x) shared &= row[x] == first;
        }
      label[threadIdx.x] = first;
      alike[threadIdx.x] = shared;
    }
    __syncthreads();
    if (there && threadIdx.x < CELLS) {
      bool shared = true;
      int last = min(REACH, (int)(nx - place % nx));
#pragma unroll
      for (int ahead = 0; ahead < REACH; ++ahead) {
        int next = threadIdx.x + min(ahead, last - 1);
        shared &= alike[next] && label[next] == label[threadIdx.x];
      }
      low[item * room + i] = label[threadIdx.x];
      same[item * room + i] = shared;
    }
    __syncthreads();
  }
}

// Note whether the REACH cells from each cell on along all axes, as far as there are any, hold one
// label: those along x do, by the table so far.
extern "C" __global__ void __launch_bounds__(THREADS)
    merge_cells(const Stream* streams, int items, int64 room, const LABEL* low,
                const unsigned char* same, unsigned char* uniform) {
  int64 i = (int64)blockIdx.x * THREADS + threadIdx.x;
  for (int item = blockIdx.y; item < items; item += gridDim.y) {
    const Cells& cells = streams[item].cells;
    int nz = cells.count[0], ny = cells.count[1], nx = cells.count[2];
    if (i >= (int64)nz * ny * nx) continue;
    uint32 row = (uint32)i / nx;
    int y = (int)(row % ny), z = (int)(row / ny);
    const LABEL* label = low + item * room + i;
    const unsigned char* alike = same + item * room + i;
    LABEL first = *label;
    bool shared = true;
#pragma unroll
    for (int ahead = 0; ahead < REACH; ++ahead) {
      int plane = min(ahead, nz - 1 - z) * ny * nx;
#pragma unroll
      for (int down = 0; down < REACH; ++down) {
        int next = plane + min(down, ny - 1 - y) * nx;
        shared &= alike[next] && label[next] == first;
      }
    }
    uniform[item * room + i] = shared;
  }
}

// --- the fused field and warp -----------------------------------------------------------------------

struct Sampling {     // where the window is in the labels, per axis (z, y, x)
  int origin[3], step[3];
  int tile_runs;      // runs along x of a block, at most
  int strip;          // tiles along y of a block
  int64 strips;
  int64 cells_room;   // entries of an item's table
};

// A block's shared memory. Of a field of few terms, all that its contractions read is staged here;
// else only what depends on the tile, and rows are here or in `spare`.
struct Shared {
  float *rows, *edge, *slack;
  float *plane, *basis_y, *nodes, *curvature;  // staged
  int *left, *count;

  __device__ Shared(const Field& f, const Sampling& sampling, unsigned char* arena, float* spare,
                    bool staged) {
    int across = fours(sampling.tile_runs * f.parts + 1);
    float* next = (float*)arena;
    auto take = [&](int floats) {
      float* start = next;
      next += fours(floats);
      return start;
    };
    rows = spare ? spare : take(f.components * f.terms[2] * ROWS);
    edge = take(f.components * ROWS * across);
    slack = take(f.components * ROWS);
    left = (int*)take(THREADS);
    count = (int*)take(1);
    plane = basis_y = nodes = curvature = nullptr;
    if (!staged) return;
    plane = take(f.components * f.terms[1] * f.terms[2]);
    basis_y = take(f.terms[1] * ROWS);
    nodes = take(f.terms[2] * across);
    curvature = take(f.terms[2]);
  }

  // Four floats are loaded at once.
  __device__ static int fours(int floats) { return (floats + 3) / 4 * 4; }
};

// Copy `rows` pieces of `width` floats, `stride` apart, to pieces `pitch` apart.
__device__ __forceinline__ void stage(const float* from, int64 stride, int rows, int width, int pitch,
                                      float* to) {
  const int lanes = 16;
  for (int row = threadIdx.x / lanes; row < rows; row += THREADS / lanes)
#pragma unroll 2
    for (int i = threadIdx.x % lanes; i < width; i += lanes) to[row * pitch + i] = from[row * stride + i];
}

__device__ __forceinline__ void stage(const float* from, int floats, float* to) {
#pragma unroll 2
  for (int i = threadIdx.x; i < floats; i += THREADS) to[i] = from[i];
}

// How far the displacement may leave the interval of its values at two nodes: per component and row.
__device__ __forceinline__ void bound_rows(const Field& f, int terms, const float* curvature,
                                           const float* rows, float* slack) {
  for (int unit = threadIdx.x; unit < f.components * ROWS; unit += THREADS) {
    const float* row = rows + (unit / ROWS * terms) * ROWS + unit % ROWS;
    float sum = curvature[0] * fabsf(row[0]);
#pragma unroll 2
    for (int k = 1; k < terms; k += 2) {
      float a = fabsf(row[k * ROWS]), b = fabsf(row[(k + 1) * ROWS]);
      sum += curvature[k] * (fmaxf(a, b) + DIAGONAL * fminf(a, b));  // >= hypot(a, b)
    }
    slack[unit] = sum;
  }
}

// The displacement at the nodes of a block, four nodes and four rows for a thread:
// (components, rows, `across`). What is beyond the last node is of no matter.
template <bool STAGED>
__device__ __forceinline__ void evaluate_nodes(const Field& f, int terms, const float* basis,
                                               int64 stride, int nodes, int across,
                                               const float* rows, float* edge) {
  const int each = (nodes + 3) / 4 * (ROWS / 4);
  // From the last thread on: the first ones have bounds to find.
  for (int unit = THREADS - 1 - threadIdx.x; unit < each * f.components; unit += THREADS) {
    int c = (unit >= each) + (unit >= 2 * each), within = unit - c * each;
    int node = within / (ROWS / 4) * 4, row = within % (ROWS / 4) * 4;
    const float* value = rows + c * terms * ROWS + row;
    const float* at = basis + node;
    float sum[4][4] = {{0}};  // of a row, at the four nodes
#pragma unroll 2
    for (int l = 0; l < terms; ++l) {
      float4 four = *(const float4*)(value + l * ROWS), factor;
      if (STAGED) {
        factor = *(const float4*)at;
      } else {
        int last = nodes - 1 - node;
        factor = make_float4(at[0], at[min(1, last)], at[min(2, last)], at[min(3, last)]);
      }
      add_four(four.x, factor, sum[0]);
      add_four(four.y, factor, sum[1]);
      add_four(four.z, factor, sum[2]);
      add_four(four.w, factor, sum[3]);
      at += stride;
    }
    float* to = edge + (c * ROWS + row) * across + node;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      *(float4*)(to + i * across) = make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
  }
}

// The entry of the table that settles a run, or -1.
__device__ __forceinline__ int settle(const Field& f, const Sampling& sampling, const Volume& labels,
                                      const Cells& cells, const LABEL* low,
                                      const unsigned char* uniform, const Rule& rule,
                                      const float* edge, int across, const float* slack, int run,
                                      int row, int z, int y, int x, int length) {
  int cell = 0, shape[3] = {labels.nz, labels.ny, labels.nx}, origin[3] = {z, y, x};
  bool outside = false, spoken = true;
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    int c = axis - 3 + f.components;
    if (c < 0) continue;  // an image is a single plane
    const float* at = edge + (c * ROWS + row) * across + run * f.parts;
    float least = fminf(at[0], at[f.parts]), most = fmaxf(at[0], at[f.parts]);
    if (f.parts == 2) least = fminf(least, at[1]), most = fmaxf(most, at[1]);
    int span = axis == 2 ? sampling.step[2] * (length - 1) : 0;
    spoken &= confine(least, most, slack[c * ROWS + row], origin[axis], span, shape[axis], axis,
                      cells, &cell, &outside);
  }
  if (!spoken || !uniform[cell]) return -1;
  LABEL label = low[cell];
  if (rule.has_ignore && label == rule.ignore) return -1;
  return rule.constant && outside && label != rule.cval ? -1 : cell;
}

// Store the label of a settled run, but keep what is to be ignored.
__device__ __forceinline__ void store_run(const Volume& labels, LABEL label, const Rule& rule, int z,
                                          int y, int x, int step, int length, LABEL* out) {
  if (length == RUN && !rule.has_ignore && ((uint64)out & 7) == 0) {
    uint64 word = label;
    for (int bits = 8 * sizeof(LABEL); bits < 64; bits *= 2) word |= word << bits;
    for (int i = 0; i < sizeof(LABEL); ++i) ((uint64*)out)[i] = word;
    return;
  }
#pragma unroll 1
  for (int i = 0; i < length; ++i) {
    LABEL own = rule.has_ignore ? labels.at(z, y, x + step * i) : label;
    out[i] = rule.has_ignore && own == rule.ignore ? own : label;
  }
}

// Decide two neighbours along x at a time of the runs that are left.
__device__ __forceinline__ void decide_left(const Field& f, const Sampling& sampling,
                                            const Volume& labels, const Rule& rule, int terms,
                                            const float* basis, const float* rows, const int* left,
                                            int count, int first_run, int z, int y, LABEL* plane) {
  for (int unit = threadIdx.x; unit < count * (RUN / 2); unit += THREADS) {
    int which = left[unit / (RUN / 2)], row = which / TILE_RUNS;
    int x = (first_run + which % TILE_RUNS) * RUN + unit % (RUN / 2) * 2;
    if (x >= f.count[2]) continue;
    float shift[3] = {0, 0, 0}, next[3] = {0, 0, 0};
    const float* factor = basis + x;  // there is room for whole runs
    const float* at = rows + row;
    const int stride = terms * ROWS;
    if (f.components == 3) {
#pragma unroll 4
      for (int l = 0; l < terms; ++l) {
        float2 value = *(const float2*)factor;
        float one = at[l * ROWS], two = at[stride + l * ROWS], three = at[2 * stride + l * ROWS];
        shift[0] = fmaf(value.x, one, shift[0]), next[0] = fmaf(value.y, one, next[0]);
        shift[1] = fmaf(value.x, two, shift[1]), next[1] = fmaf(value.y, two, next[1]);
        shift[2] = fmaf(value.x, three, shift[2]), next[2] = fmaf(value.y, three, next[2]);
        factor += f.padded[2];
      }
    } else {
#pragma unroll 4
      for (int l = 0; l < terms; ++l) {
        float2 value = *(const float2*)factor;
        float two = at[l * ROWS], three = at[stride + l * ROWS];
        shift[1] = fmaf(value.x, two, shift[1]), next[1] = fmaf(value.y, two, next[1]);
        shift[2] = fmaf(value.x, three, shift[2]), next[2] = fmaf(value.y, three, next[2]);
        factor += f.padded[2];
      }
    }
    LABEL* to = plane + ((INDEX)row * f.count[2] + x);
#pragma unroll 1
    for (int i = 0; i < 2 && x + i < f.count[2]; ++i) {
      to[i] = decide(labels, z, y + sampling.step[1] * row,
                     sampling.origin[2] + sampling.step[2] * (x + i), shift, rule);
      shift[0] = next[0], shift[1] = next[1], shift[2] = next[2];
    }
  }
}

// Fill (streams, z, y, x) with noisy labels of (items, z, y, x). A block takes a strip of tiles of
// one plane of one stream.
template <bool STAGED>
__device__ __forceinline__ void sample(const Field& f, const Sampling& sampling,
                                       const Stream* streams, int first, float* bases,
                                       const float* planes, float* spare, const LABEL* volumes,
                                       Shape of, const Rule& rule, const LABEL* low,
                                       const unsigned char* uniform, LABEL* out,
                                       unsigned char* arena) {
  const int64 row_floats = (int64)f.components * f.terms[2] * ROWS;
  const Shared shared(f, sampling, arena, STAGED || !spare ? nullptr : spare + blockIdx.x * row_floats,
                      STAGED);
  const int runs = ceil_div(f.count[2], RUN), flat = f.components * f.terms[1] * f.terms[2];
  const int across = Shared::fours(sampling.tile_runs * f.parts + 1);
  const int down = ceil_div(f.count[1], ROWS * sampling.strip);

  for (int64 index = blockIdx.x; index < sampling.strips; index += gridDim.x) {
    const int tile_z = (int)(index / down % f.count[0]), stream_at = (int)(index / down / f.count[0]);
    const int top = (int)(index % down) * sampling.strip * ROWS;
    const int item = (first + stream_at) / f.raters;
    const Stream& stream = streams[item];
    const Cells& cells = stream.cells;
    const Bases basis(f, bases, item);
    const Volume labels(volumes, of, item);
    const LABEL* item_low = low + item * sampling.cells_room;
    const unsigned char* item_uniform = uniform + item * sampling.cells_room;
    const int terms = stream.terms[2], z = sampling.origin[0] + sampling.step[0] * tile_z;
    const int64 plane_at = (int64)stream_at * f.count[0] + tile_z;
    const float* plane = planes + plane_at * flat;
    if (STAGED) {
      stage(plane, flat, shared.plane);
      stage(basis.curvature, terms, shared.curvature);
    }
    for (int tile_y = top; tile_y < min(top + sampling.strip * ROWS, f.count[1]); tile_y += ROWS) {
      const int height = min(ROWS, f.count[1] - tile_y);
      const int y = sampling.origin[1] + sampling.step[1] * tile_y;
      LABEL* to = out + (plane_at * f.count[1] + tile_y) * f.count[2];
      if (STAGED) {
        stage(basis.y + tile_y, f.padded[1], stream.terms[1], ROWS, ROWS, shared.basis_y);
        __syncthreads();
        contract_rows(f, stream, shared.plane, shared.basis_y, ROWS, shared.rows);
      } else {
        contract_rows(f, stream, plane, basis.y + tile_y, f.padded[1], shared.rows);
      }
      for (int tile_x = 0; tile_x < runs; tile_x += sampling.tile_runs) {
        const int tile_runs = min(sampling.tile_runs, runs - tile_x), nodes = tile_runs * f.parts + 1;
        const float* basis_nodes = basis.nodes + tile_x * f.parts;
        if (threadIdx.x == 0) *shared.count = 0;
        if (STAGED && (tile_y == top || tile_runs < runs))
          stage(basis_nodes, f.nodes, terms, nodes, across, shared.nodes);
        __syncthreads();
        if (tile_x == 0)
          bound_rows(f, terms, STAGED ? shared.curvature : basis.curvature, shared.rows, shared.slack);
        evaluate_nodes<STAGED>(f, terms, STAGED ? shared.nodes : basis_nodes,
                               STAGED ? across : f.nodes, nodes, across, shared.rows, shared.edge);
        __syncthreads();

        int run = threadIdx.x % TILE_RUNS, row = threadIdx.x / TILE_RUNS;
        if (row < height && run < tile_runs) {
          int at = (tile_x + run) * RUN, length = min(RUN, f.count[2] - at);
          int sy = y + sampling.step[1] * row, sx = sampling.origin[2] + sampling.step[2] * at;
          int cell = settle(f, sampling, labels, cells, item_low, item_uniform, rule, shared.edge,
                            across, shared.slack, run, row, z, sy, sx, length);
          if (cell < 0) {
            shared.left[atomicAdd(shared.count, 1)] = threadIdx.x;
          } else {
            store_run(labels, item_low[cell], rule, z, sy, sx, sampling.step[2], length,
                      to + ((INDEX)row * f.count[2] + at));
          }
        }
        __syncthreads();
        decide_left(f, sampling, labels, rule, terms, basis.x, shared.rows, shared.left,
                    *shared.count, tile_x, z, y, to);
        __syncthreads();
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 3)
    sample_labels(Field f, Sampling sampling, const Stream* streams, int first, float* bases,
                  const float* planes, const LABEL* volumes, Shape of, Rule rule, const LABEL* low,
                  const unsigned char* uniform, LABEL* out) {
  DYNAMIC_SHARED(arena);
  sample<true>(f, sampling, streams, first, bases, planes, nullptr, volumes, of, rule, low, uniform,
               out, arena);
}

// As `sample_labels`, of so many terms that they do not fit in shared memory.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
    sample_rough(Field f, Sampling sampling, const Stream* streams, int first, float* bases,
                 const float* planes, float* spare, const LABEL* volumes, Shape of, Rule rule,
                 const LABEL* low, const unsigned char* uniform, LABEL* out) {
  DYNAMIC_SHARED(arena);
  sample<false>(f, sampling, streams, first, bases, planes, spare, volumes, of, rule, low, uniform,
                out, arena);
}

#endif
