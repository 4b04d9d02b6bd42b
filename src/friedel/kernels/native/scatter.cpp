// The part of the scatter kernels that is compiled once: packing the map, sharing the work between threads.
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>

#include "bindings.hpp"
#include "parallel.hpp"
#include "scatter_plan.hpp"

namespace nb = nanobind;

namespace friedel {
template <class T, class... Options>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu, Options...>;
template <class T>
using Vector1 = Array<const T, nb::ndim<1>>;
template <class T>
using Out2 = Array<T, nb::ndim<2>>;

void open_removed(Removed &removed, const Plan &plan) {
    // Zeros that the system gives are touched only where pixels are invalid.
    removed.memory = std::calloc(plan.removed_stride() * (removed.n_frames + 1) + 8, sizeof(double));
    if (!removed.memory) throw std::bad_alloc();
    removed.sums = reinterpret_cast<double *>((reinterpret_cast<uintptr_t>(removed.memory) + 63) / 64 * 64);
}

// ---- packing ---------------------------------------------------------------------------------------------

struct Map {
    const int64_t *pointers;
    const int32_t *bins;
    const float *weights;
    const uint8_t *keep;
    int64_t n_pixels, n_bins;

    int64_t begin(int64_t pixel) const { return keep[pixel] ? pointers[pixel] : 0; }
    int64_t end(int64_t pixel) const { return keep[pixel] ? pointers[pixel + 1] : 0; }
    // Entries of a pixel, from the first on, that fall into consecutive bins.
    int consecutive(int64_t pixel) const {
        const int64_t from = begin(pixel), to = end(pixel);
        int64_t e = from;
        while (e < to && e - from < most_tile_bins && bins[e] == bins[from] + (e - from)) ++e;
        return static_cast<int>(e - from);
    }
};

// Number of consecutive bins to store for each pixel of a tile, so that the least work remains: a stored bin
// costs about 1 for every pixel, an extra about 4 for itself.
static int best_tile_bins(const Map &map, int64_t tile) {
    int64_t histogram[most_tile_bins + 1] = {};
    const int64_t start = tile * tile_pixels, stop = std::min(start + tile_pixels, map.n_pixels);
    for (int64_t i = start; i < stop; ++i) ++histogram[map.consecutive(i)];
    if (histogram[0] == stop - start) return 0;
    int best = 1;
    int64_t best_cost = INT64_MAX;
    for (int bins = 1; bins <= most_tile_bins; ++bins) {
        int64_t cost = static_cast<int64_t>(bins) * tile_pixels;
        for (int n = bins + 1; n <= most_tile_bins; ++n) cost += 4 * (n - bins) * histogram[n];
        if (cost < best_cost) best = bins, best_cost = cost;
    }
    return best;
}

static int64_t count_extras(const Map &map, int64_t tile, int bins) {
    int64_t n = 0;
    for (int64_t i = tile * tile_pixels; i < std::min((tile + 1) * tile_pixels, map.n_pixels); ++i)
        n += map.end(i) - map.begin(i) - std::min(map.consecutive(i), bins);
    return n;
}

template <class T>
static nb::ndarray<nb::numpy, T> own(std::unique_ptr<T[]> data, size_t n) {
    T *pointer = data.release();
    nb::capsule owner(pointer, [](void *p) noexcept { delete[] static_cast<T *>(p); });
    return nb::ndarray<nb::numpy, T>(pointer, {n}, owner);
}

struct Packed {
    int64_t n_tiles;
    bool wide, unit;
    std::unique_ptr<uint16_t[]> first16;
    std::unique_ptr<uint32_t[]> first32;
    std::unique_ptr<uint8_t[]> tile_bins;
    std::unique_ptr<int64_t[]> tile_weights, extra_pointers;
    std::unique_ptr<float[]> weights, extra_weights;
    std::unique_ptr<uint16_t[]> extra_pixels;
    std::unique_ptr<uint32_t[]> extra_bins;
    std::unique_ptr<uint64_t[]> active;

    void set_first(int64_t i, int64_t bin) {
        if (wide)
            first32[i] = static_cast<uint32_t>(bin);
        else
            first16[i] = static_cast<uint16_t>(bin);
    }
};

static void fill_tile(const Map &map, Packed &packed, int64_t tile) {
    const int bins = packed.tile_bins[tile];
    float *weights = packed.unit ? nullptr : packed.weights.get() + packed.tile_weights[tile];
    int64_t extra = packed.extra_pointers[tile];
    for (int pixel = 0; pixel < tile_pixels; ++pixel) {
        const int place = pixel % tile_stride * tile_streams + pixel / tile_stride;
        const int64_t i = tile * tile_pixels + pixel;
        const int n = i < map.n_pixels ? std::min(map.consecutive(i), bins) : 0;
        packed.set_first(tile * tile_pixels + place, n ? map.bins[map.begin(i)] : map.n_bins);
        if (n) packed.active[tile * tile_words + pixel / 64] |= uint64_t{1} << (pixel % 64);
        for (int k = 0; weights && k < bins; ++k) weights[place * bins + k] = k < n ? map.weights[map.begin(i) + k] : 0.0f;
        for (int64_t e = n ? map.begin(i) + n : 0; n && e < map.end(i); ++e, ++extra) {
            packed.extra_pixels[extra] = static_cast<uint16_t>(pixel);
            packed.extra_bins[extra] = static_cast<uint32_t>(map.bins[e]);
            packed.extra_weights[extra] = map.weights[e];
        }
    }
}

static bool is_unit(const Map &map) {
    for (int64_t i = 0; i < map.n_pixels; ++i) {
        const int64_t begin = map.begin(i), end = map.end(i);
        if (end - begin > 1 || (end > begin && map.weights[begin] != 1.0f)) return false;
    }
    return true;
}

static nb::dict pack_map(Vector1<int64_t> pointers, Vector1<int32_t> bins, Vector1<float> weights, Vector1<uint8_t> keep,
                         int64_t n_bins) {
    const Map map{pointers.data(), bins.data(), weights.data(), keep.data(), static_cast<int64_t>(keep.size()), n_bins};
    Packed packed;
    int64_t n_weights = 0;
    const int64_t n_tiles = packed.n_tiles = (map.n_pixels + tile_pixels - 1) / tile_pixels;
    {
        nb::gil_scoped_release release;
        packed.wide = n_bins > UINT16_MAX;
        packed.unit = is_unit(map);
        if (packed.wide)
            packed.first32.reset(new uint32_t[n_tiles * tile_pixels]);
        else
            packed.first16.reset(new uint16_t[n_tiles * tile_pixels]);
        packed.active.reset(new uint64_t[n_tiles * tile_words]());
        packed.tile_bins.reset(new uint8_t[n_tiles]);
        packed.tile_weights.reset(new int64_t[n_tiles]);
        packed.extra_pointers.reset(new int64_t[n_tiles + 1]());
        for (int64_t tile = 0; tile < n_tiles; ++tile) {
            const int n = best_tile_bins(map, tile);
            packed.tile_bins[tile] = static_cast<uint8_t>(n);
            packed.tile_weights[tile] = n_weights;
            if (!packed.unit) n_weights += n * tile_pixels;
            packed.extra_pointers[tile + 1] = packed.extra_pointers[tile] + count_extras(map, tile, n);
        }
        const int64_t n_extras = packed.extra_pointers[n_tiles];
        packed.weights.reset(new float[n_weights]);
        packed.extra_pixels.reset(new uint16_t[n_extras]);
        packed.extra_bins.reset(new uint32_t[n_extras]);
        packed.extra_weights.reset(new float[n_extras]);
        for (int64_t tile = 0; tile < n_tiles; ++tile) fill_tile(map, packed, tile);
    }
    const size_t n_extras = packed.extra_pointers[n_tiles], places = n_tiles * tile_pixels;
    nb::dict out;
    if (packed.wide)
        out["first"] = own(std::move(packed.first32), places);
    else
        out["first"] = own(std::move(packed.first16), places);
    out["active"] = own(std::move(packed.active), n_tiles * tile_words);
    out["tile_bins"] = own(std::move(packed.tile_bins), n_tiles);
    out["tile_weights"] = own(std::move(packed.tile_weights), n_tiles);
    out["weights"] = own(std::move(packed.weights), n_weights);
    out["extra_pointers"] = own(std::move(packed.extra_pointers), n_tiles + 1);
    out["extra_pixels"] = own(std::move(packed.extra_pixels), n_extras);
    out["extra_bins"] = own(std::move(packed.extra_bins), n_extras);
    out["extra_weights"] = own(std::move(packed.extra_weights), n_extras);
    out["unit"] = packed.unit;
    return out;
}

// ---- the packed map as python holds it ---------------------------------------------------------------------

class PackedMap {
  public:
    PackedMap(nb::dict arrays, int64_t n_pixels, int64_t n_bins, int64_t piece_pixels, std::optional<Vector1<float>> normalization,
              std::optional<Vector1<double>> dark, std::optional<Vector1<double>> dark_variance, Out2<double> constants,
              Out2<double> rounding) {
        plan.n_pixels = n_pixels;
        plan.n_bins = n_bins;
        plan.n_tiles = (n_pixels + tile_pixels - 1) / tile_pixels;
        plan.piece_pixels = piece_pixels;
        if (piece_pixels <= 0 || piece_pixels % piece_alignment) throw nb::value_error("piece_pixels must be a multiple of 8192");
        plan.unit = nb::cast<bool>(arrays["unit"]);
        plan.wide = n_bins > UINT16_MAX;
        const size_t places = plan.n_tiles * tile_pixels, tiles = plan.n_tiles;
        plan.first = plan.wide ? static_cast<const void *>(hold<uint32_t>(arrays["first"], places))
                               : hold<uint16_t>(arrays["first"], places);
        plan.active = hold<uint64_t>(arrays["active"], tiles * tile_words);
        plan.tile_bins = hold<uint8_t>(arrays["tile_bins"], tiles);
        plan.tile_weights = hold<int64_t>(arrays["tile_weights"], tiles);
        plan.weights = hold<float>(arrays["weights"]);
        plan.extra_pointers = hold<int64_t>(arrays["extra_pointers"], tiles + 1);
        plan.extra_pixels = hold<uint16_t>(arrays["extra_pixels"]);
        extended_.resize(tiles * tile_words);
        for (size_t tile = 0; tile < tiles; ++tile)
            for (int64_t e = plan.extra_pointers[tile]; e < plan.extra_pointers[tile + 1]; ++e)
                extended_[tile * tile_words + plan.extra_pixels[e] / 64] |= uint64_t{1} << (plan.extra_pixels[e] % 64);
        plan.extended = extended_.data();
        plan.extra_bins = hold<uint32_t>(arrays["extra_bins"]);
        plan.extra_weights = hold<float>(arrays["extra_weights"]);
        plan.normalization = hold(normalization);
        plan.dark = hold(dark);
        plan.dark_variance = hold(dark_variance);
        const auto fits = [](const Out2<double> &array, int64_t rows, int64_t columns) {
            return static_cast<int64_t>(array.shape(0)) == rows && static_cast<int64_t>(array.shape(1)) == columns;
        };
        if (!fits(constants, n_constants, n_bins) || !fits(rounding, n_bins + spare_bins, plan.columns()))
            throw nb::value_error("the constants of a packed map have another shape");
        held_.push_back(nb::cast(constants));
        held_.push_back(nb::cast(rounding));
        this->constants = constants.data();
        plan.rounding = rounding.data();
    }

    // Call function(bin, weight) for each entry of a pixel, in a fixed order.
    template <class Function>
    void entries(int64_t pixel, Function &&function) const {
        const int64_t tile = pixel / tile_pixels;
        const int number = static_cast<int>(pixel % tile_pixels), n = plan.tile_bins[tile];
        const int place = number % tile_stride * tile_streams + number / tile_stride;
        const int64_t first = plan.first_bin(tile, place);
        if (n == 0 || first == plan.n_bins) return;
        if (plan.unit) return function(first, 1.0);
        const float *weights = plan.weights + plan.tile_weights[tile] + place * n;
        for (int k = 0; k < n; ++k)
            if (weights[k] != 0) function(first + k, static_cast<double>(weights[k]));
        const uint16_t *begin = plan.extra_pixels + plan.extra_pointers[tile], *end = plan.extra_pixels + plan.extra_pointers[tile + 1];
        for (auto e = std::lower_bound(begin, end, number); e < end && *e == number; ++e)
            function(static_cast<int64_t>(plan.extra_bins[e - plan.extra_pixels]),
                     static_cast<double>(plan.extra_weights[e - plan.extra_pixels]));
    }

    // Call function(bin, values) with what a pixel contributes beside its signal to each of its bins, as the kernels do.
    template <class Function>
    void contributions(int64_t pixel, Function &&function) const {
        const double w = plan.normalization ? plan.normalization[pixel] : 1.0;
        const double dark = plan.dark ? plan.dark[pixel] : 0.0, variance = plan.dark_variance ? plan.dark_variance[pixel] : 0.0;
        entries(pixel, [&](int64_t bin, double c) {
            const double norm = c * w;
            const double values[n_constants] = {norm, norm * norm, c, c * c, c * dark, c * c * variance};
            function(bin, values);
        });
    }

    static constexpr int n_constants = 6;
    Plan plan{};
    const double *constants = nullptr;  // (n_constants, n_bins)

  private:
    template <class T>
    const T *hold(nb::handle object, std::optional<size_t> size = {}) {
        auto array = nb::cast<Vector1<T>>(object);
        if (size && array.size() != *size) throw nb::value_error("a packed map's arrays do not fit together");
        held_.push_back(nb::cast(array));
        return array.data();
    }
    template <class T>
    const T *hold(const std::optional<Vector1<T>> &array) {
        if (!array) return nullptr;
        if (array->size() != static_cast<size_t>(plan.n_pixels)) throw nb::value_error("one value for each pixel is needed");
        held_.push_back(nb::cast(*array));
        return array->data();
    }

    std::vector<nb::object> held_;
    std::vector<uint64_t> extended_;
};

// What all pixels contribute beside their signals, exactly up to a unit for each sum, see `add_exactly`: 2^-52 or less of
// the sum of the magnitudes.
static void sum_constants(const PackedMap &map, Out2<double> constants, Out2<double> rounding) {
    const int64_t n_bins = map.plan.n_bins;
    const int columns = map.plan.columns(), n = std::min(columns, PackedMap::n_constants);
    double *const sums = constants.data(), *const units = rounding.data();
    nb::gil_scoped_release release;
    std::fill_n(units, (n_bins + spare_bins) * columns, 0.0);
    for (int64_t i = 0; i < map.plan.n_pixels; ++i)
        map.contributions(i, [&](int64_t bin, const double *values) {
            for (int k = 0; k < n; ++k) units[bin * columns + k] += std::fabs(values[k]);
        });
    for (int64_t i = 0; i < n_bins * columns; ++i) {
        int exponent;
        std::frexp(units[i], &exponent);  // the sum is less than 2^exponent, also after its rounding errors
        units[i] = units[i] > 0 ? std::ldexp(3.0, exponent) : 0.0;
    }
    std::vector<double> exact(n_bins * columns);
    for (int64_t i = 0; i < map.plan.n_pixels; ++i)
        map.contributions(i, [&](int64_t bin, const double *values) {
            for (int k = 0; k < n; ++k) {
                const double unit = units[bin * columns + k];
                exact[bin * columns + k] += (values[k] + unit) - unit;
            }
        });
    for (int k = 0; k < PackedMap::n_constants; ++k)
        for (int64_t bin = 0; bin < n_bins; ++bin) sums[k * n_bins + bin] = k < n ? exact[bin * columns + k] : 0.0;
}

// ---- the work, shared between threads ------------------------------------------------------------------------

template <class T>
struct Free {
    void operator()(T *p) const { std::free(p); }
};
template <class T>
using Aligned = std::unique_ptr<T, Free<T>>;

template <class T>
static Aligned<T> allocate(size_t n, bool clear = true) {
    const size_t bytes = (n * sizeof(T) + 63) / 64 * 64;
    void *memory = std::aligned_alloc(64, bytes ? bytes : 64);
    if (!memory) throw std::bad_alloc();
    if (clear) std::memset(memory, 0, bytes);
    return Aligned<T>(static_cast<T *>(memory));
}

struct Request {
    const PackedMap &map;
    Work work;  // what all items share
    std::vector<Frame> frames;
    int threads, lanes_wanted;
    double *signal, *variance;  // (n_frames, n_bins)
    double *own[3];             // normalization, its square and count of frames with invalid pixels, (n_frames, n_bins)
    const double *mean;         // (n_frames, n_bins) or null
    std::vector<uint8_t> holed; // whether a frame has invalid pixels
    std::vector<uint64_t> negative;
    std::vector<std::string> problems;

    int64_t sums_of_group(int lanes) const {
        return (map.plan.n_bins + spare_bins) * n_sums(work.model) * lanes;
    }
};

// What the invalid pixels of a group of frames take out of the sums.
struct RemovedOfGroup : Removed {
    explicit RemovedOfGroup(int frames) { n_frames = frames; }
    RemovedOfGroup(const RemovedOfGroup &) = delete;
    ~RemovedOfGroup() { std::free(memory); }

    // Sums of a frame, or of all of them; null without invalid pixels.
    const double *of(int frame, const Plan &plan) const {
        return touched >> frame & 1 ? sums + frame * plan.removed_stride() : nullptr;
    }
    // Add those of another piece: the sums are exact, so the order does not matter.
    void add(const RemovedOfGroup &other, const Plan &plan) {
        for (int f = 0; f < n_frames; ++f) negative[f] += other.negative[f];
        if (other.touched && !sums) open_removed(*this, plan);
        touched |= other.touched;
        for (int f = 0; f <= n_frames; ++f)
            if (const double *more = other.of(f, plan))
                for (int64_t i = 0; i < plan.removed_stride(); ++i) sums[f * plan.removed_stride() + i] += more[i];
    }
};

// Take what the invalid pixels would have contributed out of what all pixels contribute, and the dark out of the sums.
static void finish_frame(Request &request, int64_t first, int f, const RemovedOfGroup &removed) {
    const Plan &plan = request.map.plan;
    const ErrorModel model = request.work.model;
    const int64_t n_bins = plan.n_bins, frame = first + f;
    const int columns = plan.columns();
    const auto row = [&](double *array) { return array ? array + frame * n_bins : nullptr; };
    double *const signal = row(request.signal), *const variance = row(request.variance);
    double *const norm = row(request.own[0]), *const squared = row(request.own[1]), *const count = row(request.own[2]);
    const double *const own = removed.of(f, plan), *const common = removed.of(removed.n_frames, plan);
    const bool holed = own || common;
    request.holed[frame] = holed;
    request.negative[frame] = removed.negative[f];
    if (!holed && columns == 4) return;
    for (int64_t b = 0; b < n_bins; ++b) {
        double taken[8] = {};
        for (int k = 0; k < columns; ++k) taken[k] = (own ? own[b * columns + k] : 0.0) + (common ? common[b * columns + k] : 0.0);
        const auto left = [&](int k) { return request.map.constants[k * n_bins + b] - taken[k]; };
        if (columns == 8) signal[b] -= left(4);
        // An invalid pixel was summed as a 0, whose variance is 1.
        if (holed && model == ErrorModel::poisson) variance[b] -= taken[3];
        if (columns == 8 && variance) variance[b] += left(5);
        if (!holed) continue;
        norm[b] = left(0);
        squared[b] = left(1);
        count[b] = left(2);
        if (count[b] == 0) {
            signal[b] = norm[b] = squared[b] = 0;
            if (variance) variance[b] = 0;
        }
    }
}

// Sums of a group of frames, (bin, signal | variance, lane), to (frame, bin).
static void write_sums(Request &request, const double *sums, int64_t first, int n_frames, int lanes, const RemovedOfGroup &removed) {
    const int n = n_sums(request.work.model);
    const int64_t n_bins = request.map.plan.n_bins;
    for (int f = 0; f < n_frames; ++f)
        for (int64_t b = 0; b < n_bins; ++b) {
            if (request.signal) request.signal[(first + f) * n_bins + b] = sums[b * n * lanes + f];
            if (n == 2) request.variance[(first + f) * n_bins + b] = sums[(b * n + 1) * lanes + f];
        }
    if (request.work.model == ErrorModel::azimuthal) return;  // the first pass did
    for (int f = 0; f < n_frames; ++f) finish_frame(request, first, f, removed);
}

// Means of a group of frames, (frame, bin), to (bin, lane).
static Aligned<double> means_of(const Request &request, int64_t first, int n_frames, int lanes) {
    const int64_t n_bins = request.map.plan.n_bins;
    if (!request.mean) return nullptr;
    auto means = allocate<double>((n_bins + spare_bins) * lanes);
    for (int f = 0; f < n_frames; ++f)
        for (int64_t b = 0; b < n_bins; ++b) means.get()[b * lanes + f] = request.mean[(first + f) * n_bins + b];
    return means;
}

// What is wrong with a frame, counted from the first of its group; nothing where there is no text.
struct Problem {
    const char *text = nullptr;
    int frame = 0;
};

// Several pieces of one frame may run at a time: what is wrong is returned, not noted in the request.
static Problem run_pieces(Request &request, int64_t first, int n_frames, int lanes, int64_t piece_begin, int64_t piece_end,
                          const double *mean, double *piece, double *sums, RemovedOfGroup &removed) {
    auto scratch = allocate<Scratch>(1, false);
    Work work = request.work;
    work.plan = &request.map.plan;
    work.n_frames = n_frames;
    work.lanes = lanes;
    work.frames = request.frames.data() + first;
    work.removed = &removed;
    work.piece_begin = piece_begin;
    work.piece_end = piece_end;
    work.mean = mean;
    work.piece = piece;
    work.sums = sums;
    work.scratch = scratch.get();
    kernels().scatter(work);
    return {work.problem, work.failed};
}

static int lanes_for(int64_t group) {
    if (group == 1) return 1;
    return group <= 4 || kernels().most_lanes < 8 ? 4 : 8;
}

// Most frames that go through together: as many as there are lanes, but sums that do not outgrow the last cache by far.
static int64_t most_together(const Request &request) {
    constexpr int64_t most_sums = 4 << 20;
    if (request.lanes_wanted) return std::min(request.lanes_wanted, kernels().most_lanes);
    int64_t most = kernels().most_lanes;
    while (most > 1 && 2 * most * request.map.plan.n_bins > most_sums) most = most == 8 ? 4 : 1;
    return most;
}

// One group of frames on one thread.
static void run_group(Request &request, int64_t first, int n_frames) {
    const int lanes = lanes_for(n_frames);
    const int64_t n = request.sums_of_group(lanes), pieces = request.map.plan.n_pieces();
    const auto mean = means_of(request, first, n_frames, lanes);
    auto sums = allocate<double>(n);
    auto piece = pieces > 1 ? allocate<double>(n) : nullptr;
    double *const partial = pieces > 1 ? piece.get() : sums.get();
    RemovedOfGroup removed(n_frames);
    const Problem problem = run_pieces(request, first, n_frames, lanes, 0, pieces, mean.get(), partial, sums.get(), removed);
    if (problem.text)
        request.problems[first + problem.frame] = problem.text;
    else
        write_sums(request, sums.get(), first, n_frames, lanes, removed);
}

// One group of frames on all threads, each taking pieces; they are added in the same order as by run_group.
static void split_group(Request &request, int64_t first, int n_frames) {
    const int lanes = lanes_for(n_frames);
    const int64_t n = request.sums_of_group(lanes), pieces = request.map.plan.n_pieces();
    const auto mean = means_of(request, first, n_frames, lanes);
    std::vector<Aligned<double>> partial(pieces);
    std::vector<Problem> problems(pieces);
    RemovedOfGroup removed(n_frames);
    std::mutex adding;
    parallel_for(pieces, request.threads, [&](std::size_t p) {
        partial[p] = allocate<double>(n);
        RemovedOfGroup some(n_frames);
        problems[p] = run_pieces(request, first, n_frames, lanes, p, p + 1, mean.get(), partial[p].get(), partial[p].get(), some);
        std::lock_guard guard(adding);
        removed.add(some, request.map.plan);
    });
    // The first piece in order is where run_group would have stopped.
    for (const Problem &problem : problems)
        if (problem.text) {
            request.problems[first + problem.frame] = problem.text;
            return;
        }
    auto sums = allocate<double>(n);
    for (const auto &part : partial)
        for (int64_t i = 0; i < n; ++i) sums.get()[i] += part.get()[i];
    write_sums(request, sums.get(), first, n_frames, lanes, removed);
}

// Each thread takes whole groups as long as there is one for each of them. The rest is shared by pieces: the map, which
// can be larger than a frame, is read for as many frames as possible at a time.
static void run_request(Request &request) {
    const int64_t n = static_cast<int64_t>(request.frames.size()), most = most_together(request), threads = request.threads;
    const bool divisible = request.work.codec != Codec::byte_offset && request.map.plan.n_pieces() >= threads;
    const int64_t in_turns = divisible ? n / (most * threads) * most * threads : n;
    const int64_t turn = divisible ? most : std::clamp((n + threads - 1) / threads, int64_t{1}, most);
    parallel_for((in_turns + turn - 1) / turn, request.threads, [&](std::size_t g) {
        const int64_t first = g * turn;
        run_group(request, first, static_cast<int>(std::min(turn, in_turns - first)));
    });
    const int64_t groups = (n - in_turns + most - 1) / most;
    for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = in_turns + g * (n - in_turns) / groups, stop = in_turns + (g + 1) * (n - in_turns) / groups;
        split_group(request, first, static_cast<int>(stop - first));
    }
}

static std::vector<Frame> frames_from(const std::vector<Vector1<uint8_t>> &buffers,
                                      const std::optional<Array<const double, nb::ndim<2>>> &variance) {
    std::vector<Frame> frames(buffers.size());
    for (size_t f = 0; f < frames.size(); ++f) {
        frames[f] = {buffers[f].data(), buffers[f].size(), nullptr};
        if (variance) frames[f].variance = variance->data() + (variance->shape(0) > 1 ? f * variance->shape(1) : 0);
    }
    return frames;
}

// Where a frame has invalid pixels, every frame needs sums of its own: those without take the constants.
static bool fill_whole_frames(Request &request) {
    const int64_t n_bins = request.map.plan.n_bins;
    bool any = false;
    for (const uint8_t holed : request.holed) any |= holed != 0;
    for (size_t f = 0; any && f < request.holed.size(); ++f)
        for (int row = 0; row < 3 && !request.holed[f]; ++row)
            std::copy_n(request.map.constants + row * n_bins, n_bins, request.own[row] + f * n_bins);
    return any;
}

// Sum frames into `signal`, `variance` and, if there are invalid pixels, `own` (all of (frames, n_bins)). Returns for each
// frame what is wrong with it or '', and the number of contributing pixels below zero; and whether `own` is filled.
static nb::tuple scatter_frames(const PackedMap &map, const std::vector<Vector1<uint8_t>> &buffers, int codec, int type,
                                int model, std::optional<Array<const double, nb::ndim<2>>> variance,
                                std::optional<Array<const double, nb::ndim<2>>> mean,
                                std::optional<std::pair<uint32_t, uint32_t>> integer_range,
                                std::optional<std::pair<double, double>> float_range, std::optional<Out2<double>> signal_sums,
                                std::optional<Out2<double>> variance_sums, std::optional<Array<double, nb::ndim<3>>> own_sums,
                                int threads, int lanes) {
    Request request{map, {}, frames_from(buffers, variance), std::max(threads, 1), lanes, nullptr, nullptr, {}, nullptr, {}, {}, {}};
    if (signal_sums) request.signal = signal_sums->data();
    if (variance_sums) request.variance = variance_sums->data();
    for (int row = 0; own_sums && row < 3; ++row)
        request.own[row] = own_sums->data() + row * own_sums->shape(1) * own_sums->shape(2);
    if (mean) request.mean = mean->data();
    request.problems.resize(buffers.size());
    request.holed.resize(buffers.size());
    request.negative.resize(buffers.size());
    Work &work = request.work;
    work.codec = static_cast<Codec>(codec);
    work.type = static_cast<ElementType>(type);
    work.model = static_cast<ErrorModel>(model);
    if (work.model != ErrorModel::azimuthal && (!signal_sums || !own_sums)) throw nb::value_error("sums are missing");
    if ((n_sums(work.model) == 2) != variance_sums.has_value()) throw nb::value_error("sums of variances are missing");
    work.screen.range = integer_range || float_range;
    if (integer_range) std::tie(work.screen.low, work.screen.span) = *integer_range;
    if (float_range) std::tie(work.screen.dummy, work.screen.delta) = *float_range;
    bool filled;
    {
        nb::gil_scoped_release release;
        run_request(request);
        filled = fill_whole_frames(request);
    }
    return nb::make_tuple(request.problems, request.negative, filled);
}

void bind_scatter(nb::module_ &m) {
    m.def("pack_map", &pack_map, nb::arg("pointers"), nb::arg("bins"), nb::arg("weights"), nb::arg("keep"), nb::arg("n_bins"));
    nb::class_<PackedMap>(m, "PackedMap")
        .def(nb::init<nb::dict, int64_t, int64_t, int64_t, std::optional<Vector1<float>>, std::optional<Vector1<double>>,
                      std::optional<Vector1<double>>, Out2<double>, Out2<double>>(),
             nb::arg("arrays"), nb::arg("n_pixels"), nb::arg("n_bins"), nb::arg("piece_pixels"), nb::arg("normalization").none(),
             nb::arg("dark").none(), nb::arg("dark_variance").none(), nb::arg("constants"), nb::arg("rounding"))
        .def("sum_constants", &sum_constants, nb::arg("constants"), nb::arg("rounding"))
        .def("scatter", &scatter_frames, nb::arg("buffers"), nb::arg("codec"), nb::arg("type"), nb::arg("model"),
             nb::arg("variance").none(), nb::arg("mean").none(), nb::arg("integer_range").none(), nb::arg("float_range").none(),
             nb::arg("signal_sums").none(), nb::arg("variance_sums").none(), nb::arg("own_sums").none(), nb::arg("threads"),
             nb::arg("lanes"));
    m.attr("SPARE_BINS") = spare_bins;
}
}  // namespace friedel
