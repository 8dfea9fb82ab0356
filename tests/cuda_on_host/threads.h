// Threads of a block as threads of the system, for TSan.
//
// A few groups of threads share the blocks of a grid: blocks of different groups are not ordered,
// so that races between blocks show as well.

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace on_host {

struct Abandoned {}; // thrown where threads wait when the launch has failed

inline int failed = 0; // atomically

// No mutex here: who leaves one would learn from it what others did after the barrier, and TSan
// would take that for an order. The last to arrive publishes the next generation; that is all.
class Barrier {
public:
  static constexpr int RETURNED = -1, PREPARED = -2;
  static constexpr int PATIENCE = 120; // seconds

  void expect(unsigned threads) { count = threads; }

  // Waits until all are here. `false`: they never will be, or are at another barrier.
  bool wait(Scope scope, int line, unsigned number) {
    places[number] = {threadIdx, line};
    const unsigned mine = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&arrived, 1u, __ATOMIC_ACQ_REL) == count) {
      for (unsigned i = 0; i < count; ++i)
        if (places[i].line != places[0].line) fail(scope, places[0], &places[i]);
      __atomic_store_n(&arrived, 0u, __ATOMIC_RELAXED);
      leave();
    } else {
      const timespec patience{PATIENCE, 0};
      while (__atomic_load_n(&generation, __ATOMIC_ACQUIRE) == mine)
        if (syscall(SYS_futex, &generation, FUTEX_WAIT_PRIVATE, mine, &patience, nullptr, 0) &&
            errno == ETIMEDOUT) {
          fail(scope, places[number], nullptr);
          leave();
        }
    }
    return !__atomic_load_n(&failed, __ATOMIC_ACQUIRE);
  }

private:
  struct Place {
    uint3 index;
    int line;
  };

  void leave() {
    __atomic_add_fetch(&generation, 1u, __ATOMIC_RELEASE);
    syscall(SYS_futex, &generation, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }

  static void fail(Scope scope, const Place &a, const Place *b) {
    if (__atomic_exchange_n(&failed, 1, __ATOMIC_ACQ_REL)) return;
    const Place &one = a.line > 0 || !b ? a : *b, &other = a.line > 0 && b ? *b : a;
    char where[48] = "has returned", rest[128] = "others are missing";
    if (other.line > 0)
      snprintf(where, sizeof where, "waits at %s of line %d", scope_name[+scope], other.line);
    if (b)
      snprintf(rest, sizeof rest, "thread (%u, %u, %u) %s", other.index.x, other.index.y,
               other.index.z, where);
    snprintf(message, sizeof message,
             "barrier divergence in block (%u, %u, %u): thread (%u, %u, %u) waits at %s of line "
             "%d, %s",
             blockIdx.x, blockIdx.y, blockIdx.z, one.index.x, one.index.y, one.index.z,
             scope_name[+scope], one.line, rest);
  }

  unsigned count = 0, arrived = 0, generation = 0;
  Place places[MOST_LANES];
};

struct Group {
  Barrier block, warps[MOST_LANES / warpSize];
  unsigned char *shared;
};

struct Thread {
  pthread_t handle;
  Group *group;
  const Launch *launch;
  unsigned lane, first_block, stride;
};

inline thread_local Group *my_group;
inline thread_local unsigned my_lane;

inline unsigned char *shared_memory() { return my_group->shared; }

inline void wait_at(Scope scope, int line) {
  const bool good =
      scope == BLOCK ? my_group->block.wait(scope, line, my_lane)
                     : my_group->warps[my_lane / warpSize].wait(scope, line, my_lane % warpSize);
  if (!good) throw Abandoned{};
}

inline void *live(void *argument) {
  const Thread &self = *static_cast<Thread *>(argument);
  const Launch &launch = *self.launch;
  my_group = self.group;
  my_lane = self.lane;
  threadIdx = position(self.lane, blockDim);
  const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
  try {
    for (unsigned block = self.first_block; block < blocks; block += self.stride) {
      blockIdx = position(block, gridDim);
      if (!self.lane) poison(my_group->shared, launch.shared_bytes, launch.order);
      wait_at(BLOCK, Barrier::PREPARED);
      launch.call(launch.arguments);
      wait_at(BLOCK, Barrier::RETURNED);
    }
  } catch (const Abandoned &) {
  }
  return nullptr;
}

inline bool run(const Launch &launch) {
  const unsigned lanes = blockDim.x * blockDim.y * blockDim.z;
  const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
  const unsigned groups = min(blocks, max(2u, min(8u, 512 / lanes)));
  failed = 0;
  auto *all = new Group[groups];
  auto *threads = new Thread[groups * lanes];
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 1 << 20);
  for (unsigned g = 0; g < groups; ++g) {
    all[g].shared = static_cast<unsigned char *>(malloc(launch.shared_bytes));
    all[g].block.expect(lanes);
    for (unsigned first = 0; first < lanes; first += warpSize)
      all[g].warps[first / warpSize].expect(min(lanes - first, unsigned(warpSize)));
  }
  for (unsigned i = 0; i < groups * lanes; ++i) {
    threads[i] = {{}, &all[i / lanes], &launch, i % lanes, i / lanes, groups};
    if (pthread_create(&threads[i].handle, &attributes, live, &threads[i])) {
      fprintf(stderr, "no thread %u of %u\n", i, groups * lanes);
      abort();
    }
  }
  for (unsigned i = 0; i < groups * lanes; ++i) pthread_join(threads[i].handle, nullptr);
  pthread_attr_destroy(&attributes);
  for (unsigned g = 0; g < groups; ++g) free(all[g].shared);
  delete[] threads;
  delete[] all;
  return !failed;
}

} // namespace on_host

inline void __syncthreads(int line = __builtin_LINE()) { on_host::wait_at(on_host::BLOCK, line); }
inline void __syncwarp(unsigned = 0xFFFFFFFFu, int line = __builtin_LINE()) {
  on_host::wait_at(on_host::WARP, line);
}
