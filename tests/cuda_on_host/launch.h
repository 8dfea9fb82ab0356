// What launcher.py calls: per kernel its signature, and a launch that unpacks the arguments.

namespace on_host {

template <class T> void describe(char *&out) {
  using Value = std::remove_cv_t<T>;
  if constexpr (std::is_pointer_v<Value>) {
    using Target = std::remove_pointer_t<Value>;
    *out++ = '*';
    *out++ = std::is_const_v<Target> ? 'r' : 'w';
    describe<Target>(out);
  } else if constexpr (std::is_void_v<Value>) {
    out += sprintf(out, "V0 ");
  } else {
    const char kind = std::is_same_v<Value, bool>         ? 'b'
                      : std::is_floating_point_v<Value>   ? 'f'
                      : !std::is_arithmetic_v<Value>      ? 'V'
                      : std::is_signed_v<Value>           ? 'i'
                                                          : 'u';
    out += sprintf(out, "%c%zu ", kind, sizeof(Value));
  }
}

template <auto kernel> struct Kernel;
template <class... P, void (*kernel)(P...)> struct Kernel<kernel> {
  static const char *signature() { // "i4 *rf4 " is (int, const float *)
    static char text[24 * sizeof...(P) + 1];
    char *out = text;
    (describe<P>(out), ...);
    return text;
  }
  static void call(void **arguments) {
    [arguments]<size_t... i>(std::index_sequence<i...>) {
      (void)arguments;
      kernel(*static_cast<std::remove_cv_t<P> *>(arguments[i])...);
    }(std::index_sequence_for<P...>());
  }
};

inline pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

inline const char *start(const unsigned *shape, const Launch &launch) {
  pthread_mutex_lock(&one_at_a_time);
  gridDim = dim3(shape[0], shape[1], shape[2]);
  blockDim = dim3(shape[3], shape[4], shape[5]);
  const bool good = run(launch);
  static thread_local char mine[sizeof message];
  memcpy(mine, message, sizeof mine);
  pthread_mutex_unlock(&one_at_a_time);
  return good ? nullptr : mine;
}

} // namespace on_host

#define ON_HOST_EXPORT extern "C" __attribute__((visibility("default")))
#define ON_HOST_KERNEL(NAME, MOST)                                                                 \
  ON_HOST_EXPORT const char *on_host_signature_##NAME() {                                          \
    return on_host::Kernel<&NAME>::signature();                                                    \
  }                                                                                                \
  ON_HOST_EXPORT unsigned on_host_most_lanes_##NAME() { return MOST; }                             \
  ON_HOST_EXPORT const char *on_host_launch_##NAME(const unsigned *shape, size_t shared,           \
                                                   void **arguments, int order,                    \
                                                   unsigned long long seed) {                      \
    return on_host::start(shape,                                                                   \
                          {on_host::Kernel<&NAME>::call, arguments, shared, order, seed});         \
  }
