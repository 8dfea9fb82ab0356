// Labels and values at displaced places: one thread per voxel, or per point.

#define THREADS 256

#ifdef LABEL

// Fill (items, raters, z, y, x) with (items, z, y, x) moved by (items, raters, components, z, y, x).
extern "C" __global__ void __launch_bounds__(THREADS)
    warp_labels(const LABEL* volumes, Shape of, const float* displacement, int components,
                int64 raters, int64 streams, Rule rule, LABEL* out) {
  INDEX voxels = (INDEX)of.nz * of.ny * of.nx;
  INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
  if (i >= voxels) return;
  int z = (int)(i / of.nx / of.ny), y = (int)(i / of.nx % of.ny), x = (int)(i % of.nx);
  for (int64 stream = blockIdx.y; stream < streams; stream += gridDim.y) {
    Volume labels(volumes, of, stream / raters);
    const float* move = displacement + stream * components * voxels + i;
    float shift[3] = {0, 0, 0};
    if (components == 3) shift[0] = *move, move += voxels;
    shift[1] = move[0];
    shift[2] = move[voxels];
    out[stream * voxels + i] = decide(labels, z, y, x, shift, rule);
  }
}

#else

// --- values at coordinates --------------------------------------------------------------------------

// What a mode does outside [0, n - 1]: the coordinate is folded into a period, clamped, or lost.
enum Mode { CONSTANT, GRID_CONSTANT, NEAREST, REFLECT, MIRROR, GRID_WRAP, WRAP };

#define BEYOND 1e15  // no image has coordinates like these; their fractions are lost anyway

__device__ __forceinline__ double not_a_number() { return __longlong_as_double(0x7ff8000000000000ll); }

// A coordinate as SciPy maps it; NaN where it is lost.
__device__ double fold(double value, int size, int mode) {
  double last = size - 1.0;
  if ((0.0 <= value && value <= last) || mode == GRID_CONSTANT) return value;
  if (mode == CONSTANT || isnan(value)) return not_a_number();
  if (mode == NEAREST) return fmin(fmax(value, 0.0), last);
  if (fabs(value) > BEYOND) return not_a_number();
  if (mode == GRID_WRAP) return value - size * floor(value / size);
  if (size == 1) return 0.0;
  if (mode == WRAP)  // SciPy's own: the last voxel is the first
    return value < 0 ? value + last * (floor(-value / last) + 1) : fmod(value, last);
  if (mode == MIRROR) {
    double folded = fmod(fabs(value), 2 * last);
    // SciPy leaves (last, size) to the grid: rounding half a voxel up depends on it.
    bool turn = value < 0 ? folded > last : folded >= size;
    return turn ? 2 * last - folded : folded;
  }
  double shifted = fmod(value + 0.5, 2.0 * size);
  if (shifted < 0) shifted += 2.0 * size;
  return (shifted > size ? 2.0 * size - shifted : shifted) - 0.5;
}

// The voxel of a grid point next to the grid; -1 where there is none.
__device__ __forceinline__ int voxel_of(int index, int size, int mode) {
  if (index >= 0 && index < size) return index;
  if (mode == CONSTANT || mode == GRID_CONSTANT) return -1;
  if (mode == GRID_WRAP) return (index % size + size) % size;
  if (mode == MIRROR) return clamp(index < 0 ? -index : 2 * (size - 1) - index, size);
  return clamp(index, size);
}

struct Image {
  const IMAGE* values;
  int nz, ny, nx;

  __device__ __forceinline__ double at(int z, int y, int x, double cval) const {
    return z < 0 || y < 0 || x < 0 ? cval : (double)values[((INDEX)z * ny + y) * nx + x];
  }
};

// Trilinear interpolation at (z, y, x), on the grid as the mode extends it.
__device__ __forceinline__ double interpolate(const Image& image, double z, double y, double x,
                                              int mode, double cval) {
  int fz = (int)floor(z), fy = (int)floor(y), fx = (int)floor(x);
  int z0 = voxel_of(fz, image.nz, mode), z1 = voxel_of(fz + 1, image.nz, mode);
  int y0 = voxel_of(fy, image.ny, mode), y1 = voxel_of(fy + 1, image.ny, mode);
  int x0 = voxel_of(fx, image.nx, mode), x1 = voxel_of(fx + 1, image.nx, mode);
  double tz = z - fz, ty = y - fy, tx = x - fx, sz = 1.0 - tz, sy = 1.0 - ty, sx = 1.0 - tx;
  // A row or plane without weight, as where there is but one, may be infinite.
  double near = image.at(z0, y0, x0, cval) * sx + image.at(z0, y0, x1, cval) * tx;
  double away = image.at(z1, y0, x0, cval) * sx + image.at(z1, y0, x1, cval) * tx;
  if (ty != 0.0) {
    near = near * sy + (image.at(z0, y1, x0, cval) * sx + image.at(z0, y1, x1, cval) * tx) * ty;
    away = away * sy + (image.at(z1, y1, x0, cval) * sx + image.at(z1, y1, x1, cval) * tx) * ty;
  }
  return tz != 0.0 ? near * sz + away * tz : near;
}

// A value of the result: an integer as the nearest, halves away from zero, NaN as 0, and clipped.
__device__ __forceinline__ VALUE as_value(double value) {
#ifdef INTEGER
  const bool is_signed = (VALUE)-1 < (VALUE)0;
  const uint64 top = is_signed ? 1ull << (8 * sizeof(VALUE) - 1) : 0;
  const VALUE lowest = (VALUE)top, highest = (VALUE)~top;
  double whole = trunc(value);
  if (fabs(value - whole) >= 0.5) whole += copysign(1.0, value);
  if (isnan(value)) return 0;
  if (whole <= (double)lowest) return lowest;
  return whole >= (double)highest ? highest : (VALUE)whole;
#else
  return (VALUE)value;
#endif
}

// Fill (items, points) with (items, z, y, x) at the coordinates (axes, points). Of order 0 and
// `exact`, values are converted, not rounded: integers beyond 2^53 are what they were.
extern "C" __global__ void __launch_bounds__(THREADS)
    map_coordinates(const IMAGE* images, Shape of, int64 items, const COORDINATE* coordinates,
                    int axes, int64 points, int order, int mode, double cval, int exact,
                    VALUE* out) {
  int64 i = (int64)blockIdx.x * THREADS + threadIdx.x;
  if (i >= points) return;
  double z = axes == 3 ? (double)coordinates[i] : 0.0;
  double y = axes >= 2 ? (double)coordinates[(axes - 2) * points + i] : 0.0;
  double x = (double)coordinates[(axes - 1) * points + i];
  bool inside = 0.0 <= z && z <= of.nz - 1 && 0.0 <= y && y <= of.ny - 1 && 0.0 <= x && x <= of.nx - 1;
  if (inside) {
    mode = NEAREST;  // all modes agree
  } else {
    z = fold(z, of.nz, mode), y = fold(y, of.ny, mode), x = fold(x, of.nx, mode);
  }
  double far = max(of.nz, max(of.ny, of.nx)) + 2.0;
  bool lost = !(fabs(z) < far && fabs(y) < far && fabs(x) < far);
  const VALUE fill = as_value(cval);
  for (int64 item = blockIdx.y; item < items; item += gridDim.y) {
    Image image = {images + item * of.nz * of.ny * of.nx, of.nz, of.ny, of.nx};
    VALUE value = fill;
    if (!lost && order == 0) {
      int z0 = voxel_of((int)floor(z + 0.5), of.nz, mode);
      int y0 = voxel_of((int)floor(y + 0.5), of.ny, mode);
      int x0 = voxel_of((int)floor(x + 0.5), of.nx, mode);
      if (z0 >= 0 && y0 >= 0 && x0 >= 0) {
        IMAGE found = image.values[((INDEX)z0 * of.ny + y0) * of.nx + x0];
        value = exact ? (VALUE)found : as_value((double)found);
      }
    } else if (!lost) {
      value = as_value(interpolate(image, z, y, x, mode, cval));
    }
    out[item * points + i] = value;
  }
}

#endif
