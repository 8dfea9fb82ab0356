// Where a displaced voxel takes its label from: one gather (order 0) or a vote (order 1).
// Labels are codes, unsigned integers of type LABEL; ORDER is 0 or 1.

struct Shape {
  int nz, ny, nx;
};

#ifdef LABEL

struct Rule {
  LABEL cval, ignore, sign;
  int has_ignore, constant;
};

struct Volume {
  const LABEL* labels;
  int nz, ny, nx;

  __device__ Volume(const LABEL* volumes, Shape shape, int64 item)
      : labels(volumes + item * shape.nz * shape.ny * shape.nx),
        nz(shape.nz), ny(shape.ny), nx(shape.nx) {}

  __device__ __forceinline__ LABEL at(int z, int y, int x) const {
    return labels[((INDEX)z * ny + y) * nx + x];
  }

  __device__ __forceinline__ bool holds(int z, int y, int x) const {
    return z >= 0 && z < nz && y >= 0 && y < ny && x >= 0 && x < nx;
  }

  // The label at a voxel of the grid or, outside, cval or the nearest label.
  __device__ __forceinline__ LABEL gather(int z, int y, int x, const Rule& rule) const {
    if (holds(z, y, x)) return at(z, y, x);
    return rule.constant ? rule.cval : at(clamp(z, nz), clamp(y, ny), clamp(x, nx));
  }
};

__device__ __forceinline__ float fraction(float value) {
  // What the floor leaves of a displacement, in [0, 1].
  return fabsf(value) < FAR ? value - (float)floor32(value) : 0.0f;
}

// The class with the largest sum of trilinear weights, ties to the smaller label; `own` if none
// may vote. Fully unrolled: a class is known by its first corner, so that all stays in registers.
__device__ __forceinline__ LABEL heaviest(const LABEL corner[8], const float shift[3], LABEL own,
                                          const Rule& rule) {
  float t[3] = {fraction(shift[0]), fraction(shift[1]), fraction(shift[2])};
  float weight[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float product = (j & 4 ? t[0] : 1.0f - t[0]) * (j & 2 ? t[1] : 1.0f - t[1]);
    product = product * (j & 1 ? t[2] : 1.0f - t[2]);
    weight[j] = rule.has_ignore && corner[j] == rule.ignore ? 0.0f : product;
  }
  LABEL winner = own, other = corner[0];
  float most = 0.0f;
#pragma unroll
  for (int j = 1; j < 8; ++j) other = corner[j] != corner[0] ? corner[j] : other;
  bool two = true;  // labels, as at most borders
#pragma unroll
  for (int j = 1; j < 8; ++j) two &= corner[j] == corner[0] || corner[j] == other;
  if (two) {
    float votes = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      most += corner[i] == corner[0] ? weight[i] : 0.0f;
      votes += corner[i] == corner[0] ? 0.0f : weight[i];
    }
    bool smaller = (LABEL)(other ^ rule.sign) < (LABEL)(corner[0] ^ rule.sign);
    if (votes > most || (votes == most && votes > 0.0f && smaller)) return other;
    return most > 0.0f ? corner[0] : own;
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float votes = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) votes += corner[i] == corner[j] ? weight[i] : 0.0f;
    // The sign bit of a signed dtype turned: codes compare as the labels they stand for.
    bool smaller = (LABEL)(corner[j] ^ rule.sign) < (LABEL)(winner ^ rule.sign);
    if (votes > most || (votes == most && votes > 0.0f && smaller)) {
      winner = corner[j];
      most = votes;
    }
  }
  return winner;
}

// The label of the voxel (z, y, x), displaced by `shift`. The displacement is split into floor and
// fraction, not the coordinate: index + displacement would cost float32 its last digits.
__device__ __forceinline__ LABEL decide(const Volume& volume, int z, int y, int x,
                                        const float shift[3], const Rule& rule) {
  LABEL own = rule.cval;
  if (rule.has_ignore) {
    own = volume.at(z, y, x);
    if (own == rule.ignore) return own;
  }
  const float bias = ORDER == 1 ? 0.0f : 0.5f;
  int sz = z + floor32(shift[0] + bias);
  int sy = y + floor32(shift[1] + bias);
  int sx = x + floor32(shift[2] + bias);
  LABEL label;
  if (ORDER == 0) {
    label = volume.gather(sz, sy, sx, rule);
  } else {
    // Without a displacement along z, as in an image, the far plane has no weight.
    int far = sz + (shift[0] != 0.0f);
    LABEL corner[8];
    if (volume.holds(sz, sy, sx) && volume.holds(far, sy + 1, sx + 1)) {
      const LABEL* near = &volume.labels[((INDEX)sz * volume.ny + sy) * volume.nx + sx];
      INDEX plane = far != sz ? (INDEX)volume.ny * volume.nx : 0;
#pragma unroll
      for (int j = 0; j < 8; ++j)
        corner[j] = near[(j & 4 ? plane : 0) + (j & 2 ? volume.nx : 0) + (j & 1)];
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j)
        corner[j] = volume.gather(j & 4 ? far : sz, sy + (j >> 1 & 1), sx + (j & 1), rule);
    }
    LABEL others = 0;
#pragma unroll
    for (int j = 1; j < 8; ++j) others |= corner[0] ^ corner[j];
    label = others ? heaviest(corner, shift, own, rule) : corner[0];
  }
  return rule.has_ignore && label == rule.ignore ? own : label;
}

#endif
