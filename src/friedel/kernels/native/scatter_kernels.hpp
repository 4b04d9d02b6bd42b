// Frames to sums over bins: included once by scatter_<instruction set>.cpp, compiled with its flags.
// Everything here has internal linkage and uses no standard library templates, so that no code of a wide
// instruction set can take the place of the same function in another file.
//
// Several frames go through together, one in each lane of a vector: the map is read once for all of them,
// and a bin's sums of all frames are one vector. Lanes never mix, so a frame's sums do not depend on its company.
#pragma once
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors wider than the baseline's registers stay inside this file
#include "decode_frames.hpp"
#include "scatter_plan.hpp"

namespace friedel {
namespace {
template <int Lanes>
struct VectorOf {
    typedef double type __attribute__((vector_size(8 * Lanes), may_alias));
};
template <>
struct VectorOf<1> {
    typedef double type;
};
template <int Lanes>
using Vector = typename VectorOf<Lanes>::type;

// ---- how stored elements are read -------------------------------------------------------------------

template <size_t Size>
struct UnsignedOf;
template <>
struct UnsignedOf<1> {
    using type = uint8_t;
};
template <>
struct UnsignedOf<2> {
    using type = uint16_t;
};
template <>
struct UnsignedOf<4> {
    using type = uint32_t;
};

// Integers of up to 32 bits as stored, and as numbers. A narrow signed type also holds blocks of wide unsigned
// elements whose upper bits are all equal: small counts, and the marks near 2^32 of pixels that do not count.
template <class Stored, bool Signed>
struct Integer {
    using stored = Stored;
    static uint32_t bits(Stored x) { return static_cast<uint32_t>(static_cast<int32_t>(x)); }
    static double value(Stored x) {
        if constexpr (Signed) return static_cast<int32_t>(bits(x));
        return bits(x);
    }
    static bool invalid(Stored x, const Screen &screen) { return screen.range && bits(x) - screen.low <= screen.span; }
    static bool negative(Stored x) { return Signed && static_cast<int32_t>(bits(x)) < 0; }
    // Whether any of n values may be invalid or negative. Compares in the stored width, for speed.
    static bool suspicious(const Stored *values, int n, const Screen &screen) {
        constexpr bool below = static_cast<Stored>(-1) < 0;
        using Bits = typename UnsignedOf<sizeof(Stored)>::type;
        int64_t low, high;
        Bits either = 0;
        if (narrow_range(screen, low, high)) {
            Bits least = static_cast<Bits>(-1);
            for (int i = 0; i < n; ++i) {
                const Bits x = static_cast<Bits>(values[i]), distance = static_cast<Bits>(x - static_cast<Bits>(low));
                least = distance < least ? distance : least;
                if constexpr (Signed && below) either |= x;
            }
            if (least <= static_cast<Bits>(high - low)) return true;
        } else if constexpr (Signed && below) {
            for (int i = 0; i < n; ++i) either |= static_cast<Bits>(values[i]);
        }
        return Signed && below && either >> (8 * sizeof(Stored) - 1);
    }

  private:
    // The stored values between which all invalid ones lie; false if there are none.
    static bool narrow_range(const Screen &screen, int64_t &low, int64_t &high) {
        constexpr bool below = static_cast<Stored>(-1) < 0;
        constexpr int64_t all = int64_t{1} << (8 * sizeof(Stored)), least = below ? -all / 2 : 0, most = least + all - 1;
        low = INT64_MAX;
        high = INT64_MIN;
        for (int64_t shift = 0; screen.range && shift <= int64_t{1} << 32; shift += int64_t{1} << 32) {
            const int64_t from = static_cast<int64_t>(screen.low) - shift, to = from + screen.span;
            if (from > most || to < least) continue;
            low = from < least ? least : from < low ? from : low;
            high = to > most ? most : to > high ? to : high;
        }
        return low <= high;
    }
};
template <class Stored>
struct Float {
    using stored = Stored;
    static double value(Stored x) { return x; }
    static bool finite(Stored x) { return __builtin_fabs(static_cast<double>(x)) <= __DBL_MAX__; }
    static bool invalid(Stored x, const Screen &screen) {
        return !finite(x) || (screen.range && __builtin_fabs(x - screen.dummy) <= screen.delta);
    }
    static bool negative(Stored x) { return x < 0; }
    static bool suspicious(const Stored *values, int n, const Screen &screen) {
        int64_t odd = 0;
        for (int i = 0; i < n; ++i) odd |= (finite(values[i]) ? 0 : -1) | (values[i] < 0 ? -1 : 0);
        if (screen.range)
            for (int i = 0; i < n; ++i) odd |= __builtin_fabs(values[i] - screen.dummy) <= screen.delta ? -1 : 0;
        return odd;
    }
};

enum class Form { u1, u2, u4, i1, i2, i4, i1_of_u4, i2_of_u4, f4, f8 };

template <class Function>
inline void with_form(Form form, Function &&function) {
    switch (form) {
        case Form::u1: return function(Integer<uint8_t, false>{});
        case Form::u2: return function(Integer<uint16_t, false>{});
        case Form::u4: return function(Integer<uint32_t, false>{});
        case Form::i1: return function(Integer<int8_t, true>{});
        case Form::i2: return function(Integer<int16_t, true>{});
        case Form::i4: return function(Integer<int32_t, true>{});
        case Form::i1_of_u4: return function(Integer<int8_t, false>{});
        case Form::i2_of_u4: return function(Integer<int16_t, false>{});
        case Form::f4: return function(Float<float>{});
        case Form::f8: return function(Float<double>{});
    }
}

constexpr int element_sizes[] = {1, 2, 4, 1, 2, 4, 4, 8};
constexpr Form whole_forms[] = {Form::u1, Form::u2, Form::u4, Form::i1, Form::i2, Form::i4, Form::f4, Form::f8};

// Consecutive pixels of every frame, all in one form.
struct Run {
    int64_t start;
    int count;
    Form form;
    int form_size;
    const uint8_t *values[most_lanes];
};

// ---- sources: from a frame to runs --------------------------------------------------------------------

inline bool all_zero(const uint8_t *bytes, size_t n) { return bytes[0] == 0 && std::memcmp(bytes, bytes + 1, n - 1) == 0; }

// Narrowest way to hold a block, looking at its bit planes of n/8 bytes: counts are small, so that most of the
// upper planes are equal.
enum Narrow { narrow_u1, narrow_i1, narrow_i2, narrow_none };
inline Narrow narrow_form(const uint8_t *planes, size_t plane, ElementType type) {
    if (type == ElementType::u2 || type == ElementType::i2)
        return all_zero(planes + 8 * plane, 8 * plane) ? narrow_u1 : narrow_none;
    if (type != ElementType::u4 && type != ElementType::i4) return narrow_none;
    if (all_zero(planes + 8 * plane, 24 * plane)) return narrow_u1;
    if (std::memcmp(planes + 15 * plane, planes + 16 * plane, 16 * plane) != 0) return narrow_none;
    return std::memcmp(planes + 7 * plane, planes + 8 * plane, 8 * plane) == 0 ? narrow_i1 : narrow_i2;
}

class Source {
  public:
    explicit Source(Work &work) : work_(work), size_(element_sizes[static_cast<int>(work.type)]) {}

    // Go to the beginning of piece `piece`, the first time.
    bool open(int64_t piece) {
        const int64_t n = work_.plan->n_pixels, start = piece * work_.plan->piece_pixels;
        for (int f = 0; f < work_.n_frames; ++f) {
            const Frame &frame = work_.frames[f];
            if (work_.codec == Codec::byte_offset) deltas_[f] = ByteOffset{frame.data, frame.data + frame.size};
            if (work_.codec != Codec::bslz4) continue;
            if (const char *problem = chunks_[f].open(frame.data, frame.size, size_, n)) return fail(f, problem);
            const size_t block = chunks_[f].block;
            if (block != chunks_[0].block || block % tile_pixels || piece_alignment % block || block * size_ > block_bytes)
                return fail(f, "the chunk's blocks have a size that must be decoded to memory first");
            if (!chunks_[f].skip(start / block)) return fail(f, chunk_is_short);
        }
        return true;
    }

    // Make the run that begins at `start` and ends before `stop`.
    bool read(int64_t start, int64_t stop, Run &run) {
        run.start = start;
        run.form = whole_forms[static_cast<int>(work_.type)];
        run.form_size = size_;
        switch (work_.codec) {
            case Codec::none: return read_array(stop, run);
            case Codec::byte_offset: return read_deltas(stop, run);
            default: return read_block(stop, run);
        }
    }

  private:
    bool fail(int frame, const char *problem) {
        work_.failed = frame;
        work_.problem = problem;
        return false;
    }

    bool read_array(int64_t stop, Run &run) {
        run.count = static_cast<int>(stop - run.start);
        for (int f = 0; f < work_.n_frames; ++f) run.values[f] = work_.frames[f].data + run.start * size_;
        return true;
    }

    bool read_deltas(int64_t stop, Run &run) {
        const int64_t most = block_bytes / 4;
        run.count = static_cast<int>(stop - run.start < most ? stop - run.start : most);
        for (int f = 0; f < work_.n_frames; ++f) {
            auto *values = reinterpret_cast<uint32_t *>(work_.scratch->values[f]);
            if (!byte_offset_decode(deltas_[f], values, run.count)) return fail(f, payload_is_short);
            run.values[f] = work_.scratch->values[f];
        }
        return true;
    }

    bool masked(int64_t start, int64_t count) const {
        for (int64_t tile = start / tile_pixels; tile * tile_pixels < start + count; ++tile)
            if (work_.plan->tile_bins[tile]) return false;
        return true;
    }

    bool read_block(int64_t stop, Run &run) {
        const int64_t left = work_.plan->n_pixels - run.start, block = chunks_[0].block;
        const bool whole = left >= block;
        const size_t coded = static_cast<size_t>(whole ? block : left / 8 * 8), rest = whole ? 0 : left % 8;
        run.count = static_cast<int>(coded + rest);
        (void)stop;  // pieces end where blocks end
        if (masked(run.start, run.count)) {
            for (int f = 0; f < work_.n_frames; ++f)
                if (coded && !chunks_[f].skip(1)) return fail(f, chunk_is_short);
            run.count = -run.count;
            return true;
        }
        Narrow narrow = rest ? narrow_none : narrow_u1;
        for (int f = 0; f < work_.n_frames; ++f) {
            uint8_t *planes = work_.scratch->planes[f];
            const uint8_t *in;
            size_t in_size;
            if (coded) {
                if (!chunks_[f].next(in, in_size)) return fail(f, chunk_is_short);
                if (!lz4_decode(in, in_size, planes, coded * size_)) return fail(f, block_is_corrupt);
                if (narrow != narrow_none) narrow = joint(f, narrow, narrow_form(planes, coded / 8, work_.type));
            }
            run.values[f] = work_.scratch->values[f];
        }
        narrow_run(narrow, run);
        for (int f = 0; f < work_.n_frames; ++f) {
            unshuffle_bytes(work_.scratch->planes[f], coded, run.form_size, work_.scratch->values[f]);
            if (rest == 0) continue;
            Bslz4 &chunk = chunks_[f];
            if (static_cast<size_t>(chunk.end - chunk.in) < rest * size_) return fail(f, chunk_is_short);
            std::memcpy(work_.scratch->values[f] + coded * size_, chunk.in, rest * size_);
        }
        return true;
    }

    // The form that holds both what `narrow` holds and what frame `f` needs.
    Narrow joint(int f, Narrow narrow, Narrow other) const {
        if (f == 0 || narrow == other) return other;
        return narrow == narrow_none || other == narrow_none ? narrow_none : narrow_i2;
    }

    void narrow_run(Narrow narrow, Run &run) const {
        if (narrow == narrow_none) return;
        const bool is_unsigned = work_.type == ElementType::u4;
        run.form_size = narrow == narrow_i2 ? 2 : 1;
        run.form = narrow == narrow_u1   ? Form::u1
                   : narrow == narrow_i1 ? (is_unsigned ? Form::i1_of_u4 : Form::i1)
                                         : (is_unsigned ? Form::i2_of_u4 : Form::i2);
    }

    Work &work_;
    int size_;
    Bslz4 chunks_[most_lanes];
    ByteOffset deltas_[most_lanes];
};

// ---- from a run to a tile of numbers -------------------------------------------------------------------

constexpr int place_of(int pixel) { return pixel % tile_stride * tile_streams + pixel / tile_stride; }

inline bool all_finite(const double *values, int n) {
    int64_t odd = 0;
    for (int i = 0; i < n; ++i) odd |= __builtin_fabs(values[i]) <= __DBL_MAX__ ? 0 : -1;
    return !odd;
}

// Note invalid pixels and replace them in the line: by 0, or by NaN for the azimuthal model, which skips NaN.
// `variance` may be null.
template <class Element>
inline void screen_line(const Work &work, int f, int64_t tile, const typename Element::stored *values, int n, double *line,
                        double *variance) {
    const auto suspicious = [&](int start, int count) {
        return Element::suspicious(values + start, count, work.screen) || (variance && !all_finite(variance + start, count));
    };
    if (!suspicious(0, n)) return;
    const double replacement = work.model == ErrorModel::azimuthal ? __builtin_nan("") : 0.0;
    constexpr int chunk = 64;
    for (int start = 0; start < n; start += chunk) {
        const int count = n - start < chunk ? n - start : chunk;
        if (!suspicious(start, count)) continue;
        // Without branches: in a module gap every pixel is invalid, beside it none is.
        InvalidPixels &list = work.invalid[f];
        if (list.capacity - list.size < chunk) grow(list);
        for (int i = start; i < start + count; ++i) {
            const bool active = work.plan->first_bin(tile, place_of(i)) != work.plan->n_bins;
            const bool invalid = Element::invalid(values[i], work.screen) || (variance && !all_finite(variance + i, 1));
            list.negative += active & !invalid & Element::negative(values[i]);
            list.pixels[list.size] = static_cast<uint32_t>(tile * tile_pixels + i);
            list.size += active & invalid;
            line[i] = invalid ? replacement : line[i];
            if (variance) variance[i] = invalid ? 0 : variance[i];
        }
    }
}

template <class Element>
inline void fill_line(const Work &work, const Run &run, int f, int64_t tile, int n) {
    const int64_t offset = tile * tile_pixels - run.start;
    const auto *values = reinterpret_cast<const typename Element::stored *>(run.values[f]) + offset;
    double *line = work.scratch->lines[f];
    // The processor does not foresee that several frames take turns: ask for the tile after the next.
    if (work.codec == Codec::none && run.start + run.count - tile * tile_pixels >= 3 * tile_pixels)
        for (size_t i = 0; i < tile_pixels * sizeof(*values); i += 64)
            __builtin_prefetch(reinterpret_cast<const char *>(values + 2 * tile_pixels) + i);
    for (int i = 0; i < n; ++i) line[i] = Element::value(values[i]);
    for (int i = n; i < tile_pixels; ++i) line[i] = 0;
    double *variance_line = nullptr;
    if (work.model == ErrorModel::variance) {
        const double *variance = work.frames[f].variance + tile * tile_pixels;
        variance_line = work.scratch->variance + f * tile_pixels;
        for (int i = 0; i < n; ++i) variance_line[i] = variance[i];
        for (int i = n; i < tile_pixels; ++i) variance_line[i] = 0;
    }
    screen_line<Element>(work, f, tile, values, n, line, variance_line);
}

// (Lanes, 512) to (512, Lanes)
template <int Lanes>
inline void interleave(const double (*lines)[tile_pixels], double *out) {
    using V = Vector<Lanes>;
    for (int i = 0; i < tile_pixels; i += Lanes) {
        V a[Lanes], b[Lanes], c[Lanes];
        for (int f = 0; f < Lanes; ++f) a[f] = *reinterpret_cast<const V *>(lines[f] + i);
        if constexpr (Lanes == 4) {
            for (int f = 0; f < 4; f += 2) {
                b[f] = __builtin_shufflevector(a[f], a[f + 1], 0, 4, 2, 6);
                b[f + 1] = __builtin_shufflevector(a[f], a[f + 1], 1, 5, 3, 7);
            }
            for (int f = 0; f < 2; ++f) {
                c[f] = __builtin_shufflevector(b[f], b[f + 2], 0, 1, 4, 5);
                c[f + 2] = __builtin_shufflevector(b[f], b[f + 2], 2, 3, 6, 7);
            }
        } else {
            for (int f = 0; f < 8; f += 2) {
                b[f] = __builtin_shufflevector(a[f], a[f + 1], 0, 8, 2, 10, 4, 12, 6, 14);
                b[f + 1] = __builtin_shufflevector(a[f], a[f + 1], 1, 9, 3, 11, 5, 13, 7, 15);
            }
            for (int g = 0; g < 8; g += 4)
                for (int f = g; f < g + 2; ++f) {
                    a[f] = __builtin_shufflevector(b[f], b[f + 2], 0, 1, 8, 9, 4, 5, 12, 13);
                    a[f + 2] = __builtin_shufflevector(b[f], b[f + 2], 2, 3, 10, 11, 6, 7, 14, 15);
                }
            for (int f = 0; f < 4; ++f) {
                c[f] = __builtin_shufflevector(a[f], a[f + 4], 0, 1, 2, 3, 8, 9, 10, 11);
                c[f + 4] = __builtin_shufflevector(a[f], a[f + 4], 4, 5, 6, 7, 12, 13, 14, 15);
            }
        }
        for (int f = 0; f < Lanes; ++f) *reinterpret_cast<V *>(out + (i + f) * Lanes) = c[f];
    }
}

// ---- from a tile of numbers to bins --------------------------------------------------------------------

// Variances of the pixels: max(1, signal) for counts, or as given.
template <int Lanes, ErrorModel Model>
inline Vector<Lanes> variance_of(Vector<Lanes> signal, const double *variance, int pixel) {
    if constexpr (Model == ErrorModel::poisson) {
        const Vector<Lanes> one = Vector<Lanes>{} + 1.0;
        return signal > one ? signal : one;
    }
    if constexpr (Model == ErrorModel::variance) return reinterpret_cast<const Vector<Lanes> *>(variance)[pixel];
    return signal;
}

// Add c s to S and c^2 v to V of one bin.
template <int Lanes, ErrorModel Model>
inline void add(Vector<Lanes> *sums, double c, Vector<Lanes> signal, Vector<Lanes> variance) {
    if constexpr (Lanes == 1 && Model != ErrorModel::none) {  // one vector of both
        using Pair = Vector<2>;
        *reinterpret_cast<Pair *>(sums) += Pair{signal, variance} * Pair{c, c * c};
    } else {
        sums[0] += signal * c;
        if constexpr (Model != ErrorModel::none) sums[1] += variance * (c * c);
    }
}

// The same for a pixel that lies in one bin.
template <int Lanes, ErrorModel Model>
inline void add_whole(Vector<Lanes> *sums, Vector<Lanes> signal, Vector<Lanes> variance) {
    if constexpr (Lanes == 1 && Model != ErrorModel::none) {
        using Pair = Vector<2>;
        *reinterpret_cast<Pair *>(sums) += Pair{signal, variance};
    } else {
        sums[0] += signal;
        if constexpr (Model != ErrorModel::none) sums[1] += variance;
    }
}

// Bins: consecutive bins of each pixel; 0 stands for one bin of weight 1, -1 for `n_bins`.
template <int Lanes, ErrorModel Model, int Bins, class Index>
inline void scatter_tile(const double *__restrict signal, const double *__restrict variance, const Index *__restrict first,
                         const float *__restrict weights, int n_bins, double *__restrict sums) {
    using V = Vector<Lanes>;
    constexpr int n = Model == ErrorModel::none ? 1 : 2;
    const int count = Bins < 0 ? n_bins : Bins;
    for (int t = 0; t < tile_stride; ++t)
        for (int stream = 0; stream < tile_streams; ++stream) {
            const int place = t * tile_streams + stream, pixel = stream * tile_stride + t;
            const V s = reinterpret_cast<const V *>(signal)[pixel];
            const V v = variance_of<Lanes, Model>(s, variance, pixel);
            V *bin = reinterpret_cast<V *>(sums) + static_cast<size_t>(first[place]) * n;
            if constexpr (Bins == 0) {
                add_whole<Lanes, Model>(bin, s, v);
            } else {
                for (int k = 0; k < count; ++k) add<Lanes, Model>(bin + k * n, weights[place * count + k], s, v);
            }
        }
}

template <int Lanes, ErrorModel Model>
inline void scatter_extras(Plan plan, int64_t tile, const double *signal, const double *variance, double *sums) {
    using V = Vector<Lanes>;
    constexpr int n = Model == ErrorModel::none ? 1 : 2;
    for (int64_t e = plan.extra_pointers[tile]; e < plan.extra_pointers[tile + 1]; ++e) {
        const int pixel = plan.extra_pixels[e];
        const V s = reinterpret_cast<const V *>(signal)[pixel];
        const V v = variance_of<Lanes, Model>(s, variance, pixel);
        add<Lanes, Model>(reinterpret_cast<V *>(sums) + static_cast<size_t>(plan.extra_bins[e]) * n, plan.extra_weights[e], s, v);
    }
}

template <int Lanes, ErrorModel Model, class Index>
inline void scatter_tile(const Plan &plan, int64_t tile, const double *signal, const double *variance, double *sums) {
    const Index *first = static_cast<const Index *>(plan.first) + tile * tile_pixels;
    if (plan.unit) return scatter_tile<Lanes, Model, 0>(signal, variance, first, nullptr, 0, sums);
    const float *weights = plan.weights + plan.tile_weights[tile];
    const int n = plan.tile_bins[tile];
    switch (n) {
        case 1: scatter_tile<Lanes, Model, 1>(signal, variance, first, weights, n, sums); break;
        case 2: scatter_tile<Lanes, Model, 2>(signal, variance, first, weights, n, sums); break;
        case 3: scatter_tile<Lanes, Model, 3>(signal, variance, first, weights, n, sums); break;
        case 4: scatter_tile<Lanes, Model, 4>(signal, variance, first, weights, n, sums); break;
        default: scatter_tile<Lanes, Model, -1>(signal, variance, first, weights, n, sums);
    }
    if (plan.extra_pointers[tile + 1] > plan.extra_pointers[tile])
        scatter_extras<Lanes, Model>(plan, tile, signal, variance, sums);
}

// V = sum c^2 (s - I w)^2, the second pass of the azimuthal model. Invalid pixels are NaN. S stays 0.
template <int Lanes, class Index>
inline void scatter_spread(const Work &work, int64_t tile, const double *signal) {
    using V = Vector<Lanes>;
    // Copies: the compiler must think that stores of vectors change whatever lies in memory.
    const Plan plan = *work.plan;
    const Index *first = static_cast<const Index *>(plan.first) + tile * tile_pixels;
    const float *weights = plan.weights + plan.tile_weights[tile];
    const V *signals = reinterpret_cast<const V *>(signal), *means = reinterpret_cast<const V *>(work.mean);
    V *sums = reinterpret_cast<V *>(work.piece);
    const int n = plan.tile_bins[tile];

    const auto add = [=](int pixel, int64_t bin, double c) {
        const int64_t i = tile * tile_pixels + pixel;
        const double w = plan.normalization ? plan.normalization[i] : 1.0, dark = plan.dark ? plan.dark[i] : 0.0;
        const V s = signals[pixel], difference = (s - dark) - means[bin] * w;
        sums[2 * bin + 1] += s == s ? difference * difference * (c * c) : V{};
    };
    for (int place = 0; place < tile_pixels; ++place) {
        const int pixel = place % tile_streams * tile_stride + place / tile_streams;
        if (first[place] == plan.n_bins) continue;
        if (plan.unit) add(pixel, first[place], 1.0);
        for (int k = 0; !plan.unit && k < n; ++k) add(pixel, first[place] + k, weights[place * n + k]);
    }
    for (int64_t e = plan.extra_pointers[tile]; e < plan.extra_pointers[tile + 1]; ++e)
        add(plan.extra_pixels[e], plan.extra_bins[e], plan.extra_weights[e]);
}

// ---- the way through -----------------------------------------------------------------------------------

template <int Lanes, ErrorModel Model>
inline void process_tile(const Work &work, const Run &run, int64_t tile) {
    const Plan &plan = *work.plan;
    Scratch &scratch = *work.scratch;
    const int64_t left = plan.n_pixels - tile * tile_pixels;
    const int n = static_cast<int>(left < tile_pixels ? left : tile_pixels);
    with_form(run.form, [&](auto element) {
        for (int f = 0; f < work.n_frames; ++f) fill_line<decltype(element)>(work, run, f, tile, n);
    });
    const double *signal = scratch.lines[0], *variance = scratch.variance;
    if constexpr (Lanes > 1) {
        interleave<Lanes>(scratch.lines, scratch.signal);
        signal = scratch.signal;
    }
    if constexpr (Lanes > 1 && Model == ErrorModel::variance) {
        // The lines are free again: the variances take their place.
        std::memcpy(scratch.lines, scratch.variance, sizeof(scratch.lines[0]) * Lanes);
        interleave<Lanes>(scratch.lines, scratch.variance);
    }
    if constexpr (Model == ErrorModel::azimuthal) {
        if (plan.wide)
            scatter_spread<Lanes, uint32_t>(work, tile, signal);
        else
            scatter_spread<Lanes, uint16_t>(work, tile, signal);
    } else {
        if (plan.wide)
            scatter_tile<Lanes, Model, uint32_t>(plan, tile, signal, variance, work.piece);
        else
            scatter_tile<Lanes, Model, uint16_t>(plan, tile, signal, variance, work.piece);
    }
}

template <int Lanes, ErrorModel Model>
inline bool process_piece(const Work &work, Source &source, int64_t piece) {
    const Plan &plan = *work.plan;
    const int64_t end = (piece + 1) * plan.piece_pixels, stop = end < plan.n_pixels ? end : plan.n_pixels;
    Run run;
    for (int64_t start = piece * plan.piece_pixels; start < stop;) {
        if (!source.read(start, stop, run)) return false;
        const int64_t next = start + (run.count < 0 ? -run.count : run.count);
        for (int64_t tile = start / tile_pixels; run.count > 0 && tile * tile_pixels < next; ++tile)
            if (plan.tile_bins[tile]) process_tile<Lanes, Model>(work, run, tile);
        start = next;
    }
    return true;
}

// Add the sums of a piece to the frame's, and clear them.
inline void fold(double *__restrict piece, double *__restrict sums, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        sums[i] += piece[i];
        piece[i] = 0;
    }
}

template <int Lanes, ErrorModel Model>
inline void scatter_pieces(Work &work) {
    Source source(work);
    if (!source.open(work.piece_begin)) return;
    std::memset(work.scratch->lines, 0, sizeof(work.scratch->lines));
    std::memset(work.scratch->variance, 0, sizeof(work.scratch->variance));
    for (int64_t piece = work.piece_begin; piece < work.piece_end; ++piece) {
        if (!process_piece<Lanes, Model>(work, source, piece)) return;
        if (work.piece != work.sums) fold(work.piece, work.sums, work.plan->n_bins * n_sums(Model) * Lanes);
    }
}

template <int Lanes>
inline void scatter_lanes(Work &work) {
    switch (work.model) {
        case ErrorModel::none: return scatter_pieces<Lanes, ErrorModel::none>(work);
        case ErrorModel::poisson: return scatter_pieces<Lanes, ErrorModel::poisson>(work);
        case ErrorModel::variance: return scatter_pieces<Lanes, ErrorModel::variance>(work);
        case ErrorModel::azimuthal: return scatter_pieces<Lanes, ErrorModel::azimuthal>(work);
    }
}

inline void scatter(Work &work) {
    work.problem = nullptr;
    if (work.lanes == 1) return scatter_lanes<1>(work);
    if (work.lanes == 4) return scatter_lanes<4>(work);
#if defined(__AVX512F__)
    return scatter_lanes<8>(work);
#endif
}

#if defined(__AVX512F__)
constexpr int widest = 8;
#else
constexpr int widest = 4;
#endif
}  // namespace

const Kernels FRIEDEL_KERNELS = {scatter, decode_bslz4, decode_byte_offset, widest};
}  // namespace friedel
