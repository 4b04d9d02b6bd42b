// The hot kernels are compiled once for each instruction set, from the same source and with the same
// floating-point operations in the same order, so that every level gives the same bits.
#pragma once

namespace friedel {
enum class InstructionSet : int { baseline = 0, avx2 = 1, avx512 = 2 };

// Widest level that the running processor offers.
InstructionSet available_instruction_set();
// Level in use: the available one, unless FRIEDEL_INSTRUCTION_SET or use_instruction_set asks for a lower one.
InstructionSet instruction_set();
}  // namespace friedel
