// What fields and samples share: streams, where bases are, and how the second axis is contracted.
//
// A component is sum_jkl Z[j,k,l] A0[j,z] A1[k,y] A2[l,x]. The first axis is contracted for all
// planes, the second for the rows of a block, the last where a voxel is evaluated. Every sum runs
// over its terms in one order, with explicit multiply-adds: the same bits in every kernel.

#define RUN 8       // voxels along x that are decided together
#define ROWS 16     // rows of a block
#define THREADS 128
#define LANES 32

struct Stream {  // what makes the noise of an item; per axis (z, y, x)
  uint64 seed;
  double length[3], period[3];  // voxels
  float amplitude[3];
  int harmonics[3], terms[3];
  uint32 number;
  Cells cells;
};

struct Field {  // what all streams of a call share; per axis (z, y, x)
  int components, raters;
  int size[3], start[3], step[3], count[3];  // the grid, and the window of it
  int terms[3];                              // room for the terms of an item
  int padded[3];                             // room for the voxels of a basis
  int nodes, spread, parts;                  // of a row; voxels between two; pieces of a run
};

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

#define HALF 8  // rows that a thread contracts at once

// Contract the second axis for ROWS rows, the bases of which are `stride` apart:
// (c, k, l), (k, row) -> (c, l, row). Of coefficients in shared memory, NUMBER is int: it counts them.
template <typename NUMBER>
__device__ __forceinline__ void contract_rows(const Field& f, const int* of_axes,
                                              const float* plane, const float* basis, int stride,
                                              float* rows) {
  int terms = of_axes[2], halves = ROWS / HALF, each = terms * halves;
  for (int unit = threadIdx.x; unit < f.components * each; unit += THREADS) {
    // Neighbours in a row of `rows` are neighbouring threads.
    int c = (unit >= each) + (unit >= 2 * each), l = (unit - c * each) / halves;
    int at = unit % halves * HALF;
    const float* from = plane + (NUMBER)c * f.terms[1] * f.terms[2] + l;
    const float* factors = basis + at;
    float sum[HALF] = {0};
#pragma unroll 4
    for (int k = 0; k < of_axes[1]; ++k) {
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
