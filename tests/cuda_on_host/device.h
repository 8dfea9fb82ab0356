// The CUDA dialect of the kernels, for g++: types, arithmetic and atomics. How threads run is in
// fibers.h and threads.h. Whatever is missing here fails to compile; add it when a kernel needs it.

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <type_traits>
#include <utility>

#ifdef ON_HOST_CUDA_HEADERS // by cupy_itself.py
#include "cuda_headers.h"
#endif

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...) // read from the source by launcher.py, which checks the block
#define __builtin_assume(condition)      \
  do {                                   \
    if (!(condition)) on_host::broken(); \
  } while (false)
#define __trap() on_host::broken()

// Dynamic shared memory: exactly as many bytes as the launch asked for.
#define DYNAMIC_SHARED(name) unsigned char *const name = on_host::shared_memory()

// ---- vectors, aligned as CUDA's

#ifndef ON_HOST_CUDA_HEADERS

#define ON_HOST_VECTORS(type, name, function)                                                    \
  struct name##1 { type x; };                                                                    \
  struct alignas(2 * sizeof(type)) name##2 { type x, y; };                                       \
  struct name##3 { type x, y, z; };                                                              \
  struct alignas(4 * sizeof(type) < 16 ? 4 * sizeof(type) : 16) name##4 { type x, y, z, w; };    \
  inline name##1 function##1(type x) { return {x}; }                                             \
  inline name##2 function##2(type x, type y) { return {x, y}; }                                  \
  inline name##3 function##3(type x, type y, type z) { return {x, y, z}; }                       \
  inline name##4 function##4(type x, type y, type z, type w) { return {x, y, z, w}; }

ON_HOST_VECTORS(signed char, char, make_char)
ON_HOST_VECTORS(unsigned char, uchar, make_uchar)
ON_HOST_VECTORS(short, short, make_short)
ON_HOST_VECTORS(unsigned short, ushort, make_ushort)
ON_HOST_VECTORS(int, int, make_int)
ON_HOST_VECTORS(unsigned, uint, make_uint)
ON_HOST_VECTORS(long long, longlong, make_longlong)
ON_HOST_VECTORS(unsigned long long, ulonglong, make_ulonglong)
ON_HOST_VECTORS(float, float, make_float)
ON_HOST_VECTORS(double, double, make_double)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
#endif
constexpr int warpSize = 32;
inline long long clock64() { return 0; } // who waits for it is not run: runtime.py

// ---- arithmetic

namespace on_host {

constexpr unsigned MOST_LANES = 1024; // CUDA's limit of threads in a block
constexpr double PI = 3.14159265358979323846;

[[noreturn]] inline void broken() {
  fprintf(stderr, "a kernel reached __trap() or broke a __builtin_assume()\n");
  abort();
}

// sin(pi x) and cos(pi x), exact at the multiples of 1/2.
inline void sincospi(double x, double *sine, double *cosine) {
  const double quarters = rint(2.0 * x);
  const double angle = PI * fma(-0.5, quarters, x); // |angle| <= pi / 4
  const double s = sin(angle), c = cos(angle);
  switch (static_cast<int>(isfinite(x) ? fmod(quarters, 4.0) : 0.0) & 3) {
  case 0: *sine = s, *cosine = c; break;
  case 1: *sine = c, *cosine = -s; break;
  case 2: *sine = -s, *cosine = -c; break;
  default: *sine = -c, *cosine = s; break;
  }
}
inline void sincospif(float x, float *sine, float *cosine) {
  double s, c;
  sincospi(x, &s, &c);
  *sine = static_cast<float>(s), *cosine = static_cast<float>(c);
}
inline double sinpi(double x) { double s, c; sincospi(x, &s, &c); return s; }
inline double cospi(double x) { double s, c; sincospi(x, &s, &c); return c; }
inline float sinpif(float x) { return static_cast<float>(sinpi(x)); }
inline float cospif(float x) { return static_cast<float>(cospi(x)); }
inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
inline float rsqrtf(float x) { return static_cast<float>(1.0 / ::sqrt(static_cast<double>(x))); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
inline float normcdff(float x) { return static_cast<float>(normcdf(x)); }

// A cast as the device does it: saturated, and 0 for NaN. `x` is rounded already.
template <class Integer, class Float> inline Integer saturated(Float x) {
  constexpr Integer least = std::is_signed_v<Integer> ? Integer(1) << (8 * sizeof(Integer) - 1) : 0;
  constexpr Integer most = ~least;
  if (x != x) return 0;
  if (x <= static_cast<Float>(least)) return least;
  if (x >= static_cast<Float>(most)) return most;
  return static_cast<Integer>(x);
}

} // namespace on_host

// Macros, because newer C libraries declare some of these names themselves.
#define sincospi on_host::sincospi
#define sincospif on_host::sincospif
#define sinpi on_host::sinpi
#define cospi on_host::cospi
#define sinpif on_host::sinpif
#define cospif on_host::cospif
#define rsqrt on_host::rsqrt
#define rsqrtf on_host::rsqrtf
#define normcdf on_host::normcdf
#define normcdff on_host::normcdff

// CUDA's min and max: of two floating-point numbers, the one that is no NaN.
template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) return fmin(T(a), T(b));
  else return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) return fmax(T(a), T(b));
  else return T(a) < T(b) ? T(b) : T(a);
}

inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
inline long long __double_as_longlong(double x) { return __builtin_bit_cast(long long, x); }
inline double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }

inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<long long>(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline long long __mul64hi(long long a, long long b) {
  return static_cast<long long>(static_cast<__int128>(a) * b >> 64);
}
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __clzll(long long x) {
  return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1u) << (31 - i);
  return reversed;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long bytes = static_cast<unsigned long long>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned pick = selector >> (4 * i);
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (pick & 7))) & 0xFFu;
    if (pick & 8) byte = byte & 0x80u ? 0xFFu : 0u;
    result |= byte << (8 * i);
  }
  return result;
}

// One rounding per operation: these flags never contract, so the plain operators do.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

// The device's approximations: here at full precision.
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }

#define ON_HOST_CASTS(suffix, name, Integer)                                                       \
  inline Integer __float2##name##_##suffix(float x) {                                              \
    return on_host::saturated<Integer>(on_host_##suffix(x));                                       \
  }                                                                                                \
  inline Integer __double2##name##_##suffix(double x) {                                            \
    return on_host::saturated<Integer>(on_host_##suffix(x));                                       \
  }
#define on_host_rn rint
#define on_host_rz trunc
#define on_host_rd floor
#define on_host_ru ceil
#define ON_HOST_ALL_CASTS(name, Integer)                                                           \
  ON_HOST_CASTS(rn, name, Integer)                                                                 \
  ON_HOST_CASTS(rz, name, Integer)                                                                 \
  ON_HOST_CASTS(rd, name, Integer)                                                                 \
  ON_HOST_CASTS(ru, name, Integer)
ON_HOST_ALL_CASTS(int, int)
ON_HOST_ALL_CASTS(uint, unsigned)
ON_HOST_ALL_CASTS(ll, long long)
ON_HOST_ALL_CASTS(ull, unsigned long long)
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline float __ull2float_rn(unsigned long long x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
inline double __int2double_rn(int x) { return x; }
inline double __uint2double_rn(unsigned x) { return x; }
inline double __ll2double_rn(long long x) { return static_cast<double>(x); }
inline double __ull2double_rn(unsigned long long x) { return static_cast<double>(x); }

// ---- memory

template <class T> inline T __ldg(const T *p) { return *p; }
template <class T> inline T __ldcs(const T *p) { return *p; }
template <class T> inline T __ldcg(const T *p) { return *p; }
template <class T> inline T __ldca(const T *p) { return *p; }
template <class T> inline void __stcs(T *p, std::type_identity_t<T> value) { *p = value; }
template <class T> inline void __stcg(T *p, std::type_identity_t<T> value) { *p = value; }
template <class T> inline void __stwt(T *p, std::type_identity_t<T> value) { *p = value; }

namespace on_host {

// Atomics are relaxed, as on the device: they order nothing else, and TSan knows it.
template <class T, class Change> inline T change(T *p, Change changed) {
  T old, desired;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do {
    desired = changed(old);
  } while (!__atomic_compare_exchange(p, &old, &desired, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
template <class T> constexpr bool word = sizeof(T) == 4 || sizeof(T) == 8;

} // namespace on_host

template <class T> inline T atomicAdd(T *p, std::type_identity_t<T> value) {
  static_assert(on_host::word<T>);
  if constexpr (std::is_integral_v<T>) return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
  else return on_host::change(p, [=](T old) { return old + value; });
}
template <class T> inline T atomicSub(T *p, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && on_host::word<T>);
  return __atomic_fetch_sub(p, value, __ATOMIC_RELAXED);
}
template <class T> inline T atomicMin(T *p, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && on_host::word<T>);
  return on_host::change(p, [=](T old) { return value < old ? value : old; });
}
template <class T> inline T atomicMax(T *p, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && on_host::word<T>);
  return on_host::change(p, [=](T old) { return old < value ? value : old; });
}
template <class T> inline T atomicOr(T *p, std::type_identity_t<T> value) {
  static_assert(on_host::word<T>);
  return __atomic_fetch_or(p, value, __ATOMIC_RELAXED);
}
template <class T> inline T atomicAnd(T *p, std::type_identity_t<T> value) {
  static_assert(on_host::word<T>);
  return __atomic_fetch_and(p, value, __ATOMIC_RELAXED);
}
template <class T> inline T atomicXor(T *p, std::type_identity_t<T> value) {
  static_assert(on_host::word<T>);
  return __atomic_fetch_xor(p, value, __ATOMIC_RELAXED);
}
template <class T> inline T atomicExch(T *p, std::type_identity_t<T> value) {
  static_assert(on_host::word<T>);
  T old;
  __atomic_exchange(p, &value, &old, __ATOMIC_RELAXED);
  return old;
}
template <class T>
inline T atomicCAS(T *p, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && on_host::word<T>);
  __atomic_compare_exchange(p, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
inline unsigned atomicInc(unsigned *p, unsigned most) {
  return on_host::change(p, [=](unsigned old) { return old >= most ? 0 : old + 1; });
}

// A fence is modelled by a read-modify-write of one variable: it orders what a correct pair of
// fences orders, and unlike a fence TSan understands it.
namespace on_host {
inline unsigned fences = 0;
}
inline void __threadfence() { __atomic_fetch_add(&on_host::fences, 1u, __ATOMIC_ACQ_REL); }
inline void __threadfence_block() { __threadfence(); }

// ---- where a thread is: set by fibers.h or threads.h

#ifdef ON_HOST_THREADS
#define ON_HOST_PER_THREAD thread_local
#else // not `static`: the compiler must believe that a switch of fibers changes them
#define ON_HOST_PER_THREAD
#endif
ON_HOST_PER_THREAD uint3 threadIdx;
ON_HOST_PER_THREAD uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace on_host {

struct Launch {
  void (*call)(void **arguments);
  void **arguments;
  size_t shared_bytes;
  int order; // of the threads and of the blocks: ASCENDING, DESCENDING, RANDOM
  unsigned long long seed;
};
enum { ASCENDING, DESCENDING, RANDOM };
inline const char *scope_name[] = {"__syncthreads", "__syncwarp"};
enum Scope : char { BLOCK, WARP };

// What shared memory holds when a block starts: NaN as float and double; large, or negative as int.
inline void poison(unsigned char *shared, size_t bytes, int order) {
  const unsigned pattern = order == ASCENDING ? 0x7FFA : order == DESCENDING ? 0xFFFA : 0xCDCD;
  for (size_t i = 0; i < bytes; ++i) shared[i] = static_cast<unsigned char>(pattern >> (i % 2 * 8));
}

struct Random { // splitmix64
  unsigned long long state;
  unsigned below(unsigned bound) {
    unsigned long long z = state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return __umulhi(static_cast<unsigned>(z >> 32), bound);
  }
};

// The numbers below `count` in the launch's order.
inline void arrange(unsigned *numbers, unsigned count, int order, Random &random) {
  for (unsigned i = 0; i < count; ++i) numbers[i] = order == DESCENDING ? count - 1 - i : i;
  if (order != RANDOM) return;
  for (unsigned i = count; i > 1; --i) std::swap(numbers[i - 1], numbers[random.below(i)]);
}

inline uint3 position(unsigned long long number, const dim3 &shape) {
  return {static_cast<unsigned>(number % shape.x),
          static_cast<unsigned>(number / shape.x % shape.y),
          static_cast<unsigned>(number / shape.x / shape.y)};
}

inline char message[512]; // of the last launch that failed

} // namespace on_host
