#include "bindings.hpp"

namespace friedel {
// What the running processor offers, so that a report can say which code path ran.
static const char *instruction_set() {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512bw")) return "avx512";
    if (__builtin_cpu_supports("avx2")) return "avx2";
    return "baseline";
}

void bind_version(nanobind::module_ &m) {
    m.def("instruction_set", &instruction_set, "Widest instruction set in use: 'avx512', 'avx2' or 'baseline'.");
}
}  // namespace friedel
