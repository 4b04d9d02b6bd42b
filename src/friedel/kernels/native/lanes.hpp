// Sixteen channels at a time. The geometry is the same for every channel, so indices and weights are scalars and all
// arithmetic is on vectors of channels, element by element: a channel's numbers do not depend on its neighbours, nor on
// how wide the processor's registers are.
#pragma once
#include <cstddef>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FRIEDEL_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FRIEDEL_CLONES
#endif
#define FRIEDEL_INLINE __attribute__((always_inline)) inline

namespace friedel {
constexpr std::size_t LANES = 16;
// May lie at any multiple of four bytes.
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4)));

// Sixteen complex numbers.
struct Pair {
    Lanes re, im;
};

FRIEDEL_INLINE void load_lanes(Lanes &to, const float *from, std::size_t n) {
    if (n >= LANES) {
        std::memcpy(&to, from, sizeof(Lanes));
    } else {
        to = Lanes{};
        std::memcpy(&to, from, n * sizeof(float));
    }
}

FRIEDEL_INLINE void store_lanes(float *to, const Lanes &from, std::size_t n) {
    std::memcpy(to, &from, (n < LANES ? n : LANES) * sizeof(float));
}
}  // namespace friedel
