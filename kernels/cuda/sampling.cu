// Labels moved by the Gaussian field: the displacement of a sample is never stored.
//
// Most of a volume is far from any boundary. For a run of eight voxels along x, the displacement
// at its nodes and a bound on its curvature confine the run's sources to a box. Where the box
// holds a single label, that label is stored; the other runs are listed, and their voxels shared
// by the threads of the block. Fields of very many terms have a program of their own, ROUGH.

#define TILE_RUNS 16  // runs along x of a block, at most
#define DIAGONAL 0.41421360f

#ifndef ROUGH

// --- the table of uniform cells -------------------------------------------------------------------

#define CELLS (THREADS - SIDE + 1)  // that a block tabulates: the last threads look ahead for it

// Note each cell's first label, and whether it and the SIDE - 1 cells after it along x, as far as
// there are any, hold that label alone: (items, cells). Bounded, as NVRTC 12 else spills for a few
// more blocks.
extern "C" __global__ void __launch_bounds__(THREADS, 8)
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
      int last = min(SIDE, (int)(nx - place % nx));
#pragma unroll
      for (int ahead = 0; ahead < SIDE; ++ahead) {
        int next = threadIdx.x + min(ahead, last - 1);
        shared &= alike[next] && label[next] == label[threadIdx.x];
      }
      low[item * room + i] = label[threadIdx.x];
      same[item * room + i] = shared;
    }
    __syncthreads();
  }
}

// Note whether the SIDE cells from each cell on along all axes, as far as there are any, hold one
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
    for (int ahead = 0; ahead < SIDE; ++ahead) {
      int plane = min(ahead, nz - 1 - z) * ny * nx;
#pragma unroll
      for (int down = 0; down < SIDE; ++down) {
        int next = plane + min(down, ny - 1 - y) * nx;
        shared &= alike[next] && label[next] == first;
      }
    }
    uniform[item * room + i] = shared;
  }
}

#endif

// --- the fused field and warp -----------------------------------------------------------------------

struct Sampling {  // what a call says of all blocks: it costs them no registers
  int origin[3], step[3];  // where the window is in the labels, per axis (z, y, x)
  int tile_runs;           // runs along x of a block, at most
  int strip;               // tiles along y of a block
  int64 strips;
  int64 cells_room;  // entries of an item's table
  int runs, down;    // of a row, and strips of a plane
  int across;        // room for the nodes of a block's row
  // Where a block's shared memory has what, in floats. Of a field of few terms, all that its
  // contractions read is staged there, the last four; else rows may be in memory of their own.
  int rows, edge, slack, left, count, work, plane, basis_y, nodes, curvature;
  Shape of;
  Rule rule;
};

// What a kernel that samples is given. References to it cost nothing, as all is inlined.
struct Call {
  const Field& f;
  const Sampling& sampling;
  const Stream* streams;
  int first;  // of the batch's streams
  float* bases;
  const float* planes;
  const LABEL* volumes;
  const LABEL* low;
  const unsigned char* uniform;
  LABEL* out;
};

// What a block is at: one thread finds it out for all, and none has to keep it in registers.
struct Work {
  const float *plane, *y, *x, *nodes, *curvature;  // coefficients of the plane, and bases
  const LABEL *labels, *low;                       // of the item, and its table
  const unsigned char* uniform;
  LABEL* out;  // the plane
  int z, top, terms[3];
  Cells cells;
};

#define WORK 32  // words that there is room for
static_assert(sizeof(Work) <= 4 * WORK, "it would reach into the shared memory that follows");

// Find out what the block that takes a strip is at, by the strip's index in the batch.
__device__ __forceinline__ void find_work(const Call& call, int64 index, Work& work) {
  const Field& f = call.f;
  const Sampling& sampling = call.sampling;
  int64 plane = index / sampling.down, at = plane / f.count[0];
  int64 item = (call.first + at) / f.raters;
  int64 voxels = (int64)sampling.of.nz * sampling.of.ny * sampling.of.nx;
  Bases basis(f, call.bases, item);
  work = {call.planes + plane * f.components * f.terms[1] * f.terms[2],
          basis.y, basis.x, basis.nodes, basis.curvature,
          call.volumes + item * voxels, call.low + item * sampling.cells_room,
          call.uniform + item * sampling.cells_room, call.out + plane * f.count[1] * f.count[2],
          sampling.origin[0] + sampling.step[0] * (int)(plane - at * f.count[0]),
          (int)(index - plane * sampling.down) * sampling.strip * ROWS};
  for (int axis = 0; axis < 3; ++axis) work.terms[axis] = call.streams[item].terms[axis];
  work.cells = call.streams[item].cells;
}

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

// Contract the second axis for the rows of a tile.
template <bool STAGED>
__device__ __forceinline__ void contract_tile(const Field& f, const Sampling& sampling,
                                              const Work& work, int tile_y, float* arena,
                                              float* rows) {
  const float* from = work.y + tile_y;
  if (STAGED) {
    float* basis = arena + sampling.basis_y;
    stage(from, f.padded[1], work.terms[1], ROWS, ROWS, basis);
    __syncthreads();
    contract_rows<int>(f, work.terms, arena + sampling.plane, basis, ROWS, rows);
  } else {
    contract_rows<int64>(f, work.terms, work.plane, from, f.padded[1], rows);
  }
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
__device__ __forceinline__ int settle(const Call& call, const Work& work, const float* edge,
                                      const float* slack, int run, int row, int y, int x,
                                      int length) {
  const Field& f = call.f;
  const Sampling& sampling = call.sampling;
  const Rule& rule = sampling.rule;
  const LABEL* low = work.low;
  const unsigned char* uniform = work.uniform;
  int cell = 0, shape[3] = {sampling.of.nz, sampling.of.ny, sampling.of.nx};
  int origin[3] = {work.z, y, x};
  bool outside = false, spoken = true;
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    int c = axis - 3 + f.components;
    if (c < 0) continue;  // an image is a single plane
    const float* at = edge + (c * ROWS + row) * sampling.across + run * f.parts;
    float least = fminf(at[0], at[f.parts]), most = fmaxf(at[0], at[f.parts]);
    if (f.parts == 2) least = fminf(least, at[1]), most = fmaxf(most, at[1]);
    int span = axis == 2 ? sampling.step[2] * (length - 1) : 0;
    spoken &= confine(least, most, slack[c * ROWS + row], origin[axis], span, shape[axis], axis,
                      work.cells, &cell, &outside);
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

// Settle a tile's runs by the table, a thread for each, and list those that are left.
__device__ __forceinline__ void settle_runs(const Call& call, const Work& work, const float* edge,
                                            const float* slack, int tile_x, int tile_runs, int y,
                                            int height, int* left, int* count, LABEL* out) {
  const Field& f = call.f;
  const Sampling& sampling = call.sampling;
  const Volume labels(work.labels, sampling.of, 0);
#pragma unroll 1
  for (int which = threadIdx.x; which < height * TILE_RUNS; which += THREADS) {
    int run = which % TILE_RUNS, row = which / TILE_RUNS;
    if (run >= tile_runs) continue;
    int at = (tile_x + run) * RUN, length = min(RUN, f.count[2] - at);
    int sy = y + sampling.step[1] * row, sx = sampling.origin[2] + sampling.step[2] * at;
    int cell = settle(call, work, edge, slack, run, row, sy, sx, length);
    if (cell < 0) {
      left[atomicAdd(count, 1)] = which;
    } else {
      store_run(labels, work.low[cell], sampling.rule, work.z, sy, sx, sampling.step[2], length,
                out + ((INDEX)row * f.count[2] + at));
    }
  }
}

// Decide two neighbours along x at a time of the runs that are left.
__device__ __forceinline__ void decide_left(const Call& call, const Work& work, const float* rows,
                                            const int* left, int count, int tile_x, int y,
                                            LABEL* out) {
  const Field& f = call.f;
  const Sampling& sampling = call.sampling;
  const Volume labels(work.labels, sampling.of, 0);
  const float* basis = work.x;
  const int terms = work.terms[2], z = work.z;
  for (int unit = threadIdx.x; unit < count * (RUN / 2); unit += THREADS) {
    int which = left[unit / (RUN / 2)], row = which / TILE_RUNS;
    int x = (tile_x + which % TILE_RUNS) * RUN + unit % (RUN / 2) * 2;
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
    LABEL* to = out + ((INDEX)row * f.count[2] + x);
#pragma unroll 1
    for (int i = 0; i < 2 && x + i < f.count[2]; ++i) {
      to[i] = decide(labels, z, y + sampling.step[1] * row,
                     sampling.origin[2] + sampling.step[2] * (x + i), shift, sampling.rule);
      shift[0] = next[0], shift[1] = next[1], shift[2] = next[2];
    }
  }
}

// Fill (streams, z, y, x) with noisy labels of (items, z, y, x). A block takes a strip of tiles of
// one plane of one stream.
template <bool STAGED>
__device__ __forceinline__ void sample(const Call& call, float* spare, unsigned char* memory) {
  const Field& f = call.f;
  const Sampling& sampling = call.sampling;
  float* const arena = (float*)memory;
  float* const rows =
      STAGED || !spare ? arena + sampling.rows
                       : spare + (int64)blockIdx.x * f.components * f.terms[2] * ROWS;
  float *const edge = arena + sampling.edge, *const slack = arena + sampling.slack;
  int *const left = (int*)arena + sampling.left, *const count = (int*)arena + sampling.count;

  Work& work = *(Work*)(arena + sampling.work);
  for (int64 index = blockIdx.x; index < sampling.strips; index += gridDim.x) {
    if (threadIdx.x == 0) find_work(call, index, work);
    __syncthreads();
    if (STAGED) {
      stage(work.plane, f.components * f.terms[1] * f.terms[2], arena + sampling.plane);
      stage(work.curvature, work.terms[2], arena + sampling.curvature);
    }
    const int bottom = min(work.top + sampling.strip * ROWS, f.count[1]);
    for (int tile_y = work.top; tile_y < bottom; tile_y += ROWS) {
      const int height = min(ROWS, f.count[1] - tile_y);
      const int y = sampling.origin[1] + sampling.step[1] * tile_y;
      contract_tile<STAGED>(f, sampling, work, tile_y, arena, rows);
      for (int tile_x = 0; tile_x < sampling.runs; tile_x += sampling.tile_runs) {
        const int tile_runs = min(sampling.tile_runs, sampling.runs - tile_x);
        const int nodes = tile_runs * f.parts + 1;
        if (threadIdx.x == 0) *count = 0;
        const float* at_nodes = work.nodes + tile_x * f.parts;
        // A single tile along x has the same nodes all down the strip.
        if (STAGED && (tile_y == work.top || tile_runs < sampling.runs))
          stage(at_nodes, f.nodes, work.terms[2], nodes, sampling.across, arena + sampling.nodes);
        __syncthreads();
        if (tile_x == 0)
          bound_rows(f, work.terms[2], STAGED ? arena + sampling.curvature : work.curvature, rows,
                     slack);
        evaluate_nodes<STAGED>(f, work.terms[2], STAGED ? arena + sampling.nodes : at_nodes,
                               STAGED ? sampling.across : f.nodes, nodes, sampling.across, rows, edge);
        __syncthreads();

        LABEL* to = work.out + (INDEX)tile_y * f.count[2];
        settle_runs(call, work, edge, slack, tile_x, tile_runs, y, height, left, count, to);
        __syncthreads();
        decide_left(call, work, rows, left, *count, tile_x, y, to);
        __syncthreads();
      }
    }
  }
}

#ifndef ROUGH

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define RESIDENT 4  // blocks of a multiprocessor: Turing spills within the registers of more
#else
#define RESIDENT (ORDER == 0 ? 8 : 7)  // of eight, votes by wide indices spill
#endif

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    sample_labels(Field f, Sampling sampling, const Stream* streams, int first, float* bases,
                  const float* planes, const LABEL* volumes, const LABEL* low,
                  const unsigned char* uniform, LABEL* out) {
  DYNAMIC_SHARED(arena);
  sample<true>({f, sampling, streams, first, bases, planes, volumes, low, uniform, out}, nullptr,
               arena);
}

#else

// As `sample_labels`, of so many terms that they do not fit in shared memory.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
    sample_rough(Field f, Sampling sampling, const Stream* streams, int first, float* bases,
                 const float* planes, float* spare, const LABEL* volumes, const LABEL* low,
                 const unsigned char* uniform, LABEL* out) {
  DYNAMIC_SHARED(arena);
  sample<false>({f, sampling, streams, first, bases, planes, volumes, low, uniform, out}, spare,
                arena);
}

#endif
