// The Gaussian field: streams, bases, coefficients, and the displacement itself.

#define ITEMS 16  // streams that are passed by value at once
#define LARGEST 1e30  // voxels of an amplitude: that of gfnoise/_shared/spectrum.py
#define PI 3.14159265358979323846

struct Cut {  // where a spectrum is cut; the numbers of gfnoise/_shared/spectrum.py
  double padding, tail, white, constant;
};

struct Streams {
  Stream of[ITEMS];
  Cut cut;
};

// --- streams and bases --------------------------------------------------------------------------

// Cut the spectrum of one axis for a length scale that the host does not know. Of what the kept
// harmonics and the periods were for the shortest, `room` terms are enough.
__device__ __forceinline__ void cut_spectrum(Stream& stream, int axis, double length, int size,
                                             int room, const Cut& cut) {
  length = fmin(fmax(length, cut.white), cut.constant);
  double period = ceil(size - 1 + cut.padding * length), unit = 2 * PI / period * length;
  double x = (PI / unit) * (PI / unit);  // the sum of all, by Poisson's formula
  double total = sqrt(2 * PI) / unit * (1 + 2 * exp(-2 * x) + 2 * exp(-8 * x)), tail = 0;
  int kept = (int)ceil(6 / unit) + 1;  // beyond, nothing is left in float32
  while (kept > 1) {
    double w = unit * (kept - 1);
    tail += 2 * exp(-0.5 * w * w);
    if (tail >= cut.tail * total) break;
    --kept;
  }
  stream.length[axis] = length;
  stream.period[axis] = period;
  stream.harmonics[axis] = kept;
  int64 highest = min((int64)(kept - 1), (int64)period / 2);
  stream.terms[axis] = min((int)(2 * highest + 1), room);
}

// Complete a record: by a seed and by strengths (2, ndim), amplitudes and length scales, that may be
// on the device, and by its spectra, where the host knows of strengths but their bounds.
__device__ __forceinline__ void complete(Stream& stream, const Field& f, const int64* seed,
                                         const double* strengths, bool bounds, const Cut& cut) {
  if (seed) stream.seed = (uint64)*seed;
  if (!bounds) return;
  int ndim = f.components;
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    if (axis < 3 - ndim) continue;
    if (strengths) {
      stream.amplitude[axis] = (float)fmin(strengths[axis - 3 + ndim], LARGEST);
      stream.length[axis] = strengths[axis - 3 + 2 * ndim];
    }
    cut_spectrum(stream, axis, stream.length[axis], f.size[axis], f.terms[axis], cut);
  }
}

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

#define AT_NODES 3  // after the axes

// Fill the basis of one axis, or the nodes and the weights of the bound, of a stream.
__device__ __forceinline__ void tabulate(const Field& f, const Stream& stream, int which,
                                         const Bases& to, double* partial) {
  bool at_nodes = which == AT_NODES;
  int axis = at_nodes ? 2 : which;
  int terms = stream.terms[axis], frequencies = (terms + 1) / 2;

  double sum = 0;
  for (int k = threadIdx.x; k < frequencies; k += blockDim.x) sum += folded_weight(stream, axis, k);
  partial[threadIdx.x] = sum;
  add_partials(partial, THREADS, 1);
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

// Bring the streams of some items (blockIdx.x) to the device, and fill their bases: of an axis, or at
// the nodes (blockIdx.y). Seeds and strengths, (items, 2, ndim), may be there already.
extern "C" __global__ void __launch_bounds__(THREADS)
    prepare_streams(Field f, Streams given, const int64* seeds, int seed_step,
                    const double* strengths, int bounds, int first, Stream* streams,
                    float* bases) {
  DYNAMIC_SHARED(arena);
  double* partial = (double*)arena;
  Stream& stream = *(Stream*)(partial + THREADS);  // in memory, as axes are found by their numbers
  int64 item = first + (int)blockIdx.x;
  if (threadIdx.x == 0) {
    stream = given.of[blockIdx.x];
    complete(stream, f, seeds ? seeds + item * seed_step : seeds,
             strengths ? strengths + item * 2 * f.components : strengths, bounds, given.cut);
    if (blockIdx.y == 0) streams[item] = stream;
  }
  __syncthreads();
  tabulate(f, stream, blockIdx.y, Bases(f, bases, item), partial);
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

// Fill (streams, components, z, y, x). Rows are in shared memory or, of very many terms, in `spare`.
extern "C" __global__ void __launch_bounds__(THREADS, 6)
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
    contract_rows<int64>(f, stream.terms, plane, basis.y + tile.y, f.padded[1], rows);
    __syncthreads();
    int width = min(tile_runs * RUN, f.count[2] - tile.run * RUN), terms = stream.terms[2];
    for (int unit = threadIdx.x; unit < width * (ROWS / 4); unit += THREADS) {
      int x = tile.run * RUN + unit % width, row = unit / width * 4;
      for (int c = 0; c < f.components; ++c) {
        const float *factor = basis.x + x, *at = rows + c * terms * ROWS + row;
        float value[4] = {0};
        for (int l = 0; l < terms; ++l, factor += f.padded[2], at += ROWS)
          add_four(*factor, *(const float4*)at, value);
        int64 component = (int64)tile.stream * f.components + c;
        for (int i = 0; i < 4 && tile.y + row + i < f.count[1]; ++i)
          out[((component * f.count[0] + tile.z) * f.count[1] + tile.y + row + i) * f.count[2] + x] =
              value[i];
      }
    }
    __syncthreads();
  }
}

