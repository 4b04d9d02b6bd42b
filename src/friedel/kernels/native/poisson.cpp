// Poisson noise for simulated frames. The specification is poisson.py beside the bindings: the same operations in
// the same order, so that the same numbers come out.
#include "bindings.hpp"
#include "parallel.hpp"

#include <nanobind/ndarray.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace nb = nanobind;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FRIEDEL_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FRIEDEL_VECTOR_CLONES
#endif

namespace friedel {
namespace {
constexpr int LANES = 16;  // two vectors of 8 doubles: hides the latency of the recurrence
constexpr std::size_t TILE = 4096;  // pixels of all images that stay in the cache while frames pass by
constexpr double INVERSION_LIMIT = 60.0;
constexpr int LARGEST_INVERTED = 192;
constexpr std::uint64_t GOLDEN = 0x9E3779B97F4A7C15ull;
constexpr int ATTEMPT_SHIFT = 40;

typedef double Doubles __attribute__((vector_size(64)));
typedef std::int64_t Integers __attribute__((vector_size(64)));
typedef std::uint64_t Words __attribute__((vector_size(64)));

struct Key {
    std::uint64_t first, second;
};

template <class Word>
__attribute__((always_inline)) inline Word mix(Word z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

Key frame_key(std::uint64_t seed, std::uint64_t frame) {
    const std::uint64_t first = mix(mix(seed + GOLDEN) + frame * GOLDEN);
    return {first, mix(first + GOLDEN)};
}

// Uniform in [0, 1) with 52 bits, a function of key and counter alone.
inline double uniform(const Key &key, std::uint64_t counter) {
    const std::uint64_t z = mix(mix(counter * GOLDEN + key.first) ^ key.second);
    const std::uint64_t bits = (z >> 12) | 0x3FF0000000000000ull;
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value - 1.0;
}

double log_factorial(double k) {
    static const double small[] = {0.0,
                                   0.0,
                                   0.6931471805599453,
                                   1.791759469228055,
                                   3.1780538303479458,
                                   4.787491742782046,
                                   6.579251212010101,
                                   8.525161361065415,
                                   10.60460290274525,
                                   12.801827480081469};
    if (k < 10.0) return small[static_cast<int>(k)];
    const double r = 1.0 / k, s = r * r;
    const double series = r * (1.0 / 12.0 - s * (1.0 / 360.0 - s * (1.0 / 1260.0 - s * (1.0 / 1680.0))));
    return (k + 0.5) * std::log(k) - k + 0.9189385332046727 + series;
}

// Transformed rejection (Hörmann, Insurance: Mathematics and Economics 12 (1993) 39, algorithm PTRS).
std::uint32_t reject(double mean, const Key &key, std::uint64_t pixel) {
    if (!(mean < 4.0e9)) return std::numeric_limits<std::uint32_t>::max();
    const double b = 0.931 + 2.53 * std::sqrt(mean);
    const double a = -0.059 + 0.02483 * b;
    const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    const double v_r = 0.9277 - 3.6224 / (b - 2.0);
    const double log_mean = std::log(mean);
    for (std::uint64_t attempt = 1;; attempt += 2) {
        const double u = uniform(key, pixel | (attempt << ATTEMPT_SHIFT)) - 0.5;
        const double v = uniform(key, pixel | ((attempt + 1) << ATTEMPT_SHIFT));
        const double us = 0.5 - std::fabs(u);
        const double k = std::floor((2.0 * a / us + b) * u + mean + 0.43);
        if (us >= 0.07 && v <= v_r) return static_cast<std::uint32_t>(k);
        if (k < 0.0 || !(k < 4.2e9) || (us < 0.013 && v > us)) continue;
        const double left = std::log(v * inverse_alpha / (a / (us * us) + b));
        if (left <= k * log_mean - mean - log_factorial(k)) return static_cast<std::uint32_t>(k);
    }
}

struct Task {
    const float *images;  // (k, npix)
    const float *amounts;  // (n, k)
    std::uint32_t *frames;  // (n, npix)
    std::size_t n_images, n_pixels, n_frames;
    std::uint64_t seed, first_frame;
};

// Inversion for LANES pixels at once: the sample is the number of k with u >= P(X <= k).
FRIEDEL_VECTOR_CLONES void draw(const Task &task, std::size_t frame, std::size_t start, std::size_t stop, const double *reciprocal) {
    const Key key = frame_key(task.seed, task.first_frame + frame);
    const float *amounts = task.amounts + frame * task.n_images;
    std::uint32_t *out = task.frames + frame * task.n_pixels;
    for (std::size_t pixel = start; pixel < stop; pixel += LANES) {
        const std::size_t count = std::min<std::size_t>(LANES, stop - pixel);
        alignas(64) double mean[LANES] = {};
        for (std::size_t k = 0; k < task.n_images; ++k) {
            const double amount = amounts[k];
            const float *image = task.images + k * task.n_pixels + pixel;
            if (count == LANES)
                for (int l = 0; l < LANES; ++l) mean[l] += amount * static_cast<double>(image[l]);
            else
                for (std::size_t l = 0; l < count; ++l) mean[l] += amount * static_cast<double>(image[l]);
        }
        bool large = false;
        alignas(64) double inverted[LANES];
        for (int l = 0; l < LANES; ++l) {
            inverted[l] = mean[l] <= INVERSION_LIMIT ? (mean[l] > 0.0 ? mean[l] : 0.0) : 0.0;
            large |= mean[l] > INVERSION_LIMIT;
        }
        Doubles u[2], m[2], p[2], cumulative[2];
        Integers drawn[2];
        for (int half = 0; half < 2; ++half) {
            Words counter = {0, 1, 2, 3, 4, 5, 6, 7};
            counter += static_cast<std::uint64_t>(pixel + 8 * half);
            const Words z = mix(mix(counter * GOLDEN + key.first) ^ key.second);
            u[half] = reinterpret_cast<Doubles>((z >> 12) | 0x3FF0000000000000ull) - 1.0;
            std::memcpy(&m[half], inverted + 8 * half, sizeof m[half]);
            // exp(-m) = 2^-n exp(-r), |r| <= ln 2 / 2
            const Doubles shifted = m[half] * 1.4426950408889634 + 6755399441055744.0;
            const Doubles n = shifted - 6755399441055744.0;
            const Doubles r = (n * 0.693147180369123816490 - m[half]) + n * 1.90821492927058770002e-10;
            Doubles e = r * (1.0 / 479001600.0) + (1.0 / 39916800.0);
            e = e * r + (1.0 / 3628800.0);
            e = e * r + (1.0 / 362880.0);
            e = e * r + (1.0 / 40320.0);
            e = e * r + (1.0 / 5040.0);
            e = e * r + (1.0 / 720.0);
            e = e * r + (1.0 / 120.0);
            e = e * r + (1.0 / 24.0);
            e = e * r + (1.0 / 6.0);
            e = e * r + 0.5;
            e = e * r + 1.0;
            e = e * r + 1.0;
            // The low bits of `shifted` hold n: take it from the exponent of 1.
            const Integers power = (1023 - (reinterpret_cast<Integers>(shifted) - 0x4338000000000000ll)) << 52;
            p[half] = e * reinterpret_cast<Doubles>(power);
            cumulative[half] = p[half];
            drawn[half] = Integers{};
        }
        for (int k = 1; k <= LARGEST_INVERTED; ++k) {
            const Integers more0 = u[0] >= cumulative[0], more1 = u[1] >= cumulative[1];
            drawn[0] -= more0;
            drawn[1] -= more1;
            if ((k & 3) == 0) {
                const Integers any = more0 | more1;
                std::int64_t all = 0;
                for (int l = 0; l < 8; ++l) all |= any[l];
                if (all == 0) break;
            }
            p[0] *= m[0] * reciprocal[k];
            p[1] *= m[1] * reciprocal[k];
            cumulative[0] += p[0];
            cumulative[1] += p[1];
        }
        for (std::size_t l = 0; l < count; ++l) out[pixel + l] = static_cast<std::uint32_t>(drawn[l / 8][l % 8]);
        if (large)
            for (std::size_t l = 0; l < count; ++l)
                if (mean[l] > INVERSION_LIMIT) out[pixel + l] = reject(mean[l], key, pixel + l);
    }
}

using Floats = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Counts = nb::ndarray<std::uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void poisson_frames(Floats images, Floats amounts, Counts frames, std::uint64_t seed, std::uint64_t first_frame,
                    int threads) {
    const Task task{images.data(),    amounts.data(),  frames.data(), images.shape(0),
                    images.shape(1), amounts.shape(0), seed,          first_frame};
    if (amounts.shape(1) != task.n_images || frames.shape(0) != task.n_frames || frames.shape(1) != task.n_pixels)
        throw nb::value_error("images (k, npix), amounts (n, k) and frames (n, npix) do not fit");
    double reciprocal[LARGEST_INVERTED + 1];
    reciprocal[0] = 0.0;
    for (int k = 1; k <= LARGEST_INVERTED; ++k) reciprocal[k] = 1.0 / k;
    nb::gil_scoped_release release;
    parallel_for((task.n_pixels + TILE - 1) / TILE, threads, [&](std::size_t tile) {
        const std::size_t start = tile * TILE, stop = std::min(start + TILE, task.n_pixels);
        for (std::size_t frame = 0; frame < task.n_frames; ++frame) draw(task, frame, start, stop, reciprocal);
    });
}
}  // namespace

void bind_poisson(nb::module_ &m) {
    m.def("poisson_frames", &poisson_frames, nb::arg("images"), nb::arg("amounts"), nb::arg("frames"), nb::arg("seed"),
          nb::arg("first_frame"), nb::arg("threads"), "Fill frames with Poisson counts of mean amounts @ images.");
}
}  // namespace friedel
