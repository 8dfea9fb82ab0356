// Where a label is uniform: a table over small cells, and the runs of voxels that it settles.

#define SIDE 4  // cells per axis that an entry of the table speaks for

struct Cells {      // of one item
  int bits[3];      // log2 of a cell's size, per axis
  int first[3];     // the table's first cell
  int count[3];     // its cells
};

#ifdef LABEL

// One run's source box along one axis: narrows `cell`, notes whether the box leaves the grid.
// False where no entry speaks for it.
__device__ __forceinline__ bool confine(float least_shift, float most_shift, float slack, int origin,
                                        int span, int size, int axis, const Cells& cells, int* cell,
                                        bool* outside) {
  const float bias = ORDER == 1 ? 0.0f : 0.5f;
  int least = floor32(least_shift - slack + bias) + origin;
  int most = floor32(most_shift + slack + bias) + origin + span + ORDER;
  int near = clamp(least, size), away = clamp(most, size);
  int near_cell = (near >> cells.bits[axis]) - cells.first[axis];
  int away_cell = (away >> cells.bits[axis]) - cells.first[axis];
  *outside |= least != near || most != away;
  *cell = *cell * cells.count[axis] + clamp(near_cell, cells.count[axis]);
  return away_cell - near_cell < SIDE && near_cell >= 0 && away_cell < cells.count[axis];
}

#endif
