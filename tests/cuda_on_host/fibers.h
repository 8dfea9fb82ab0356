// Threads of a block as fibers of one OS thread, resumed in ascending, descending or random order.
//
// A fiber runs one thread after another until one waits at a barrier; that fiber is parked and
// another goes on with the rest. So a kernel without barriers costs no switch at all.
//
// Shuffles and ballots: write the value to a slot per lane, __syncwarp(), read, __syncwarp().

#include <sys/mman.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__x86_64__) && !defined(ON_HOST_UCONTEXT)
#define ON_HOST_SWITCH // by a few instructions; ucontext asks the kernel at every switch
#else
#include <ucontext.h>
#endif

namespace on_host {

struct Context {
#ifdef ON_HOST_SWITCH
  void *stack_pointer;
#else
  ucontext_t machine;
#endif
  const void *stack; // its lowest address
  size_t bytes;
};

struct Lane {
  Context *fiber;
  uint3 index;
  int line;
  Scope scope;
  enum : char { WAITING, READY, FINISHED } state;
};

struct Abandoned {}; // thrown where threads wait when the launch has failed

#ifdef __SANITIZE_ADDRESS__
constexpr size_t STACK = 256 << 10;
#else
constexpr size_t STACK = 64 << 10;
#endif

Context home, *active, *idle[MOST_LANES];
unsigned idle_count, fiber_count, next_lane, lane_count;
Lane lanes[MOST_LANES], *current;
unsigned lane_order[MOST_LANES];
bool abandoned;
const Launch *launched;
unsigned char *shared_block;

inline unsigned char *shared_memory() { return shared_block; }

#ifdef ON_HOST_SWITCH
extern "C" void on_host_switch(void **from, void *to);
asm(R"(
.text
.p2align 4
.hidden on_host_switch
.globl on_host_switch
.type on_host_switch, @function
on_host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size on_host_switch, .-on_host_switch
)");
#endif

// Called on the new stack, first thing after every switch.
inline void arrived(void *fake_stack, bool at_home) {
#ifdef __SANITIZE_ADDRESS__
  const void *stack;
  size_t bytes;
  __sanitizer_finish_switch_fiber(fake_stack, &stack, &bytes);
  if (!at_home) home.stack = stack, home.bytes = bytes;
#else
  (void)fake_stack, (void)at_home;
#endif
}

__attribute__((noinline)) void switch_to(Context &from, Context &to) {
  void *fake_stack = nullptr;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&fake_stack, to.stack, to.bytes);
#endif
#ifdef ON_HOST_SWITCH
  on_host_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.machine, &to.machine);
#endif
  arrived(fake_stack, &from == &home);
}

// The life of a fiber: run threads that have not started; when there are none, wait for more.
void live() {
  arrived(nullptr, false);
  for (;;) {
    Context *self = active;
    while (next_lane < lane_count) {
      current = &lanes[lane_order[next_lane++]];
      threadIdx = current->index;
      try {
        launched->call(launched->arguments);
      } catch (const Abandoned &) {
      }
      current->state = Lane::FINISHED;
    }
    idle[idle_count++] = self;
    switch_to(*self, home);
  }
}

inline Context *new_fiber() {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  auto *fiber = new Context;
  void *memory = mmap(nullptr, page + STACK, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    perror("no memory for a fiber's stack");
    abort();
  }
  mprotect(memory, page, PROT_NONE); // an overflow of the stack is a fault, not a surprise
  char *stack = static_cast<char *>(memory) + page;
  fiber->stack = stack;
  fiber->bytes = STACK;
#ifdef ON_HOST_SWITCH
  // Staggered, so that the stacks do not compete for the same lines of the cache.
  const size_t offset = fiber_count++ * 320 % 4096 / 64 * 64;
  auto **top = reinterpret_cast<void **>(stack + STACK - offset);
  *--top = nullptr; // where `live` would return to
  *--top = reinterpret_cast<void *>(live);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fiber->stack_pointer = top;
#else
  getcontext(&fiber->machine);
  fiber->machine.uc_stack.ss_sp = stack;
  fiber->machine.uc_stack.ss_size = STACK;
  fiber->machine.uc_link = nullptr;
  makecontext(&fiber->machine, live, 0);
#endif
  return fiber;
}

inline void enter(Context *fiber) {
  active = fiber;
  switch_to(home, *fiber);
}

inline void resume(Lane &lane) {
  current = &lane;
  threadIdx = lane.index;
  enter(lane.fiber);
}

__attribute__((noinline)) void wait_at(Scope scope, int line) {
  Lane &lane = *current;
  lane.fiber = active;
  lane.line = line;
  lane.scope = scope;
  lane.state = Lane::WAITING;
  switch_to(*active, home);
  if (abandoned) throw Abandoned{};
}

inline bool diverged(const Lane &one, const Lane &other) {
  char rest[96];
  if (other.state == Lane::FINISHED) snprintf(rest, sizeof rest, "has returned");
  else snprintf(rest, sizeof rest, "waits at %s of line %d", scope_name[+other.scope], other.line);
  snprintf(message, sizeof message,
           "barrier divergence in block (%u, %u, %u): thread (%u, %u, %u) waits at %s of line %d, "
           "thread (%u, %u, %u) %s",
           blockIdx.x, blockIdx.y, blockIdx.z, one.index.x, one.index.y, one.index.z,
           scope_name[+one.scope], one.line, other.index.x, other.index.y, other.index.z, rest);
  return false;
}

inline bool together(const Lane &one, const Lane &other) {
  return other.state == Lane::WAITING && one.scope == other.scope && one.line == other.line;
}

// Marks the threads whose barrier is complete as READY. `false`: a barrier that never will be.
inline bool release(unsigned &ready) {
  ready = 0;
  for (unsigned first = 0; first < lane_count; first += warpSize) { // warps that wait for themselves
    const unsigned end = min(first + warpSize, lane_count);
    unsigned i = first;
    while (i < end && !(lanes[i].state == Lane::WAITING && lanes[i].scope == WARP)) ++i;
    if (i == end) continue;
    for (unsigned j = first; j < end; ++j)
      if (!together(lanes[i], lanes[j])) return diverged(lanes[i], lanes[j]);
    for (unsigned j = first; j < end; ++j) lanes[j].state = Lane::READY, ++ready;
  }
  if (ready) return true;
  unsigned i = 0;
  while (i < lane_count && lanes[i].state != Lane::WAITING) ++i;
  if (i == lane_count) return true; // all have returned
  for (unsigned j = 0; j < lane_count; ++j)
    if (!together(lanes[i], lanes[j])) return diverged(lanes[i], lanes[j]);
  for (unsigned j = 0; j < lane_count; ++j) lanes[j].state = Lane::READY;
  ready = lane_count;
  return true;
}

inline bool run_block(const Launch &launch, Random &random) {
  arrange(lane_order, lane_count, launch.order, random);
  next_lane = 0;
  while (next_lane < lane_count) enter(idle_count ? idle[--idle_count] : new_fiber());
  for (unsigned ready;;) {
    if (!release(ready)) break;
    if (!ready) return true;
    if (launch.order == RANDOM) arrange(lane_order, lane_count, launch.order, random);
    for (unsigned i = 0; i < lane_count; ++i)
      if (Lane &lane = lanes[lane_order[i]]; lane.state == Lane::READY) resume(lane);
  }
  abandoned = true;
  for (unsigned i = 0; i < lane_count; ++i)
    if (lanes[i].state != Lane::FINISHED) resume(lanes[i]);
  abandoned = false;
  return false;
}

inline bool run(const Launch &launch) {
  Random random{launch.seed};
  launched = &launch;
  lane_count = blockDim.x * blockDim.y * blockDim.z;
  for (unsigned i = 0; i < lane_count; ++i) lanes[i].index = position(i, blockDim);
  shared_block = static_cast<unsigned char *>(malloc(launch.shared_bytes));
  const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
  auto *blocks_order = static_cast<unsigned *>(malloc(blocks * sizeof(unsigned)));
  arrange(blocks_order, blocks, launch.order, random);
  bool good = true;
  for (unsigned i = 0; good && i < blocks; ++i) {
    blockIdx = position(blocks_order[i], gridDim);
    poison(shared_block, launch.shared_bytes, launch.order);
    good = run_block(launch, random);
  }
  free(blocks_order);
  free(shared_block);
  return good;
}

} // namespace on_host

inline void __syncthreads(int line = __builtin_LINE()) { on_host::wait_at(on_host::BLOCK, line); }
inline void __syncwarp(unsigned = 0xFFFFFFFFu, int line = __builtin_LINE()) {
  on_host::wait_at(on_host::WARP, line);
}
