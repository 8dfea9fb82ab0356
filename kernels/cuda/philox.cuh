// Philox4x32-10 and Box-Muller: normals that are a function of a seed and a counter alone
// (Salmon et al. 2011). The same integers as on the CPU, and float64 up to the last rounding.

__device__ __forceinline__ void philox4x32(uint32 c[4], uint32 k0, uint32 k1) {
  for (int round = 0; round < 10; ++round) {
    uint64 p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
    c[0] = (uint32)(p1 >> 32) ^ c[1] ^ k0;
    c[2] = (uint32)(p0 >> 32) ^ c[3] ^ k1;
    c[1] = (uint32)p1;
    c[3] = (uint32)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

__device__ __forceinline__ double uniform(uint32 word) { return (word + 0.5) * (1.0 / 4294967296.0); }

// Three independent normals of the stream (seed, item, rater).
__device__ __forceinline__ void normals(uint64 index, uint32 item, uint32 rater, uint64 seed,
                                        double out[3]) {
  uint32 word[4] = {(uint32)index, item, rater, (uint32)(index >> 32)};
  philox4x32(word, (uint32)seed, (uint32)(seed >> 32));
  double radius = sqrt(-2 * log(uniform(word[0])));
  double sine, cosine;
  sincospi(2 * uniform(word[1]), &sine, &cosine);
  out[0] = radius * cosine;
  out[1] = radius * sine;
  sincospi(2 * uniform(word[3]), &sine, &cosine);
  out[2] = sqrt(-2 * log(uniform(word[2]))) * cosine;
}
