#include <atomic>
#include <cstdlib>
#include <cstring>

#include "bindings.hpp"
#include "instruction_set.hpp"

namespace friedel {
static const char *const names[] = {"baseline", "avx2", "avx512"};

InstructionSet available_instruction_set() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return InstructionSet::avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return InstructionSet::avx2;
#endif
    return InstructionSet::baseline;
}

// The narrower of what `name` asks for and what is available; an unknown name asks for nothing.
static InstructionSet limited(const char *name) {
    const InstructionSet available = available_instruction_set();
    for (int level = 0; name && level < static_cast<int>(available); ++level)
        if (std::strcmp(name, names[level]) == 0) return static_cast<InstructionSet>(level);
    return available;
}

static std::atomic<InstructionSet> &level_in_use() {
    static std::atomic<InstructionSet> level{limited(std::getenv("FRIEDEL_INSTRUCTION_SET"))};
    return level;
}

InstructionSet instruction_set() { return level_in_use(); }

static const char *instruction_set_name() { return names[static_cast<int>(instruction_set())]; }

static const char *use_instruction_set(const char *name) {
    level_in_use() = limited(name);
    return instruction_set_name();
}

void bind_version(nanobind::module_ &m) {
    m.def("instruction_set", &instruction_set_name,
          "Widest instruction set in use: 'avx512', 'avx2' or 'baseline' (variable FRIEDEL_INSTRUCTION_SET).");
    m.def("use_instruction_set", &use_instruction_set, nanobind::arg("name"),
          "Use at most this instruction set from now on, in the whole process; return the one in use.");
}
}  // namespace friedel
