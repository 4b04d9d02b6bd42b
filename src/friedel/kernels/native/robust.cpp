// Sums over bins without outliers: sigma clipping and percentiles. The specifications are clip.py and percentile.py.
//
// The map is kept in the order of the bins: a bin's values are gathered from the frame once, and all rounds of clipping
// are done while they are in the cache. Bins do not depend on one another, so that any thread may do any of them.
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <optional>
#include <vector>

#include "bindings.hpp"
#include "parallel.hpp"
#include "scatter_plan.hpp"

namespace nb = nanobind;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FRIEDEL_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FRIEDEL_VECTOR_CLONES
#endif

namespace friedel {
namespace {
template <class T, class... Options>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu, Options...>;
template <class T>
using Vector1 = Array<const T, nb::ndim<1>>;

constexpr uint32_t counts_for_pixel = 1u << 31;  // marks the one entry by which a pixel is counted
constexpr std::size_t chunks_per_frame = 64;

// The map in the order of the bins; null where a factor is 1 or a term 0.
struct Entries {
    int64_t n_bins;
    const int64_t *starts;
    const uint32_t *pixels;
    const float *shares, *normalization;
    const double *dark, *dark_variance;
};

// ---- sums over the entries of one bin, in a fixed order for every width of the registers -------------------

typedef double Doubles __attribute__((vector_size(64)));
constexpr std::size_t WIDTH = 8;

__attribute__((always_inline)) inline Doubles load(const double *from) {
    Doubles v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

__attribute__((always_inline)) inline void store(double *to, const Doubles &v) { std::memcpy(to, &v, sizeof v); }

__attribute__((always_inline)) inline double total(const Doubles &v) {
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// Values x with weights a = c w, variances v of c s, shares c. Entries that are dropped stay, with weight, variance and
// share 0: so do those that fill the last vector up.
struct Values {
    double *x, *a, *v, *c;  // v null without a model of it, c null where all are 1
    std::size_t n;
    double left;  // number of entries that are not dropped, for c null

    std::size_t vectors() const { return (n + WIDTH - 1) / WIDTH * WIDTH; }
    void fill_up() {
        for (double *array : {x, a, v, c})
            for (std::size_t i = n; array && i < vectors(); ++i) array[i] = 0;
    }
};

struct Moments {
    double signal = 0, weight = 0, squared = 0, count = 0;
    double mean() const { return signal / weight; }
};

FRIEDEL_VECTOR_CLONES Moments moments(const Values &values) {
    const double *const x = values.x, *const a = values.a, *const c = values.c;
    Doubles signal{}, weight{}, squared{}, count{};
    for (std::size_t i = 0; i < values.vectors(); i += WIDTH) {
        const Doubles w = load(a + i);
        signal += load(x + i) * w;
        weight += w;
        squared += w * w;
        if (c) count += load(c + i);
    }
    return {total(signal), total(weight), total(squared), c ? total(count) : values.left};
}

// sum (a (x - mean))^2
FRIEDEL_VECTOR_CLONES double spread(const Values &values, double mean) {
    const double *const x = values.x, *const a = values.a;
    Doubles sum{};
    for (std::size_t i = 0; i < values.vectors(); i += WIDTH) {
        const Doubles d = (load(x + i) - mean) * load(a + i);
        sum += d * d;
    }
    return total(sum);
}

FRIEDEL_VECTOR_CLONES double sum_of(const double *values, std::size_t n) {
    Doubles sum{};
    for (std::size_t i = 0; i < n; i += WIDTH) sum += load(values + i);
    return total(sum);
}

// How many entries lie farther than `limit` from the mean, and the sum of their shares.
struct Outliers {
    double number = 0, share = 0;
};

__attribute__((always_inline)) inline Doubles absolute(const Doubles &v) { return v < 0 ? -v : v; }

template <bool Drop>
__attribute__((always_inline)) inline Outliers outliers(Values &values, double mean, double limit) {
    double *const x = values.x, *const a = values.a, *const v = values.v, *const c = values.c;
    const Doubles zero{}, one = zero + 1.0;
    Doubles number{}, share{};
    for (std::size_t i = 0; i < values.vectors(); i += WIDTH) {
        const Doubles weight = load(a + i);
        const auto out = (absolute(load(x + i) - mean) > limit) & (weight != 0);
        number += out ? one : zero;
        if (c) share += out ? load(c + i) : zero;
        if constexpr (Drop) {
            store(a + i, out ? zero : weight);
            if (v) store(v + i, out ? zero : load(v + i));
            if (c) store(c + i, out ? zero : load(c + i));
        }
    }
    const Outliers found{total(number), c ? total(share) : total(number)};
    if constexpr (Drop) values.left -= found.number;
    return found;
}

FRIEDEL_VECTOR_CLONES Outliers find(Values &values, double mean, double limit) { return outliers<false>(values, mean, limit); }
FRIEDEL_VECTOR_CLONES Outliers drop(Values &values, double mean, double limit) { return outliers<true>(values, mean, limit); }

// ---- from a frame to the values of a bin ---------------------------------------------------------------------

template <class T>
inline bool is_invalid(T x, const Screen &screen) {
    if constexpr (std::is_floating_point_v<T>)
        return !std::isfinite(x) || (screen.range && std::fabs(x - screen.dummy) <= screen.delta);
    else
        return screen.range && static_cast<uint32_t>(static_cast<int32_t>(x)) - screen.low <= screen.span;
}

// The raw values of n entries; NaN where invalid.
template <class T>
void gather(const uint8_t *data, const uint32_t *pixels, std::size_t n, const Screen &screen, double *out) {
    const T *values = reinterpret_cast<const T *>(data);
    for (std::size_t i = 0; i < n; ++i) {
        const T x = values[pixels[i] & ~counts_for_pixel];
        out[i] = is_invalid(x, screen) ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(x);
    }
}

void gather(ElementType type, const uint8_t *data, const uint32_t *pixels, std::size_t n, const Screen &screen, double *out) {
    switch (type) {
        case ElementType::u1: return gather<uint8_t>(data, pixels, n, screen, out);
        case ElementType::u2: return gather<uint16_t>(data, pixels, n, screen, out);
        case ElementType::u4: return gather<uint32_t>(data, pixels, n, screen, out);
        case ElementType::i1: return gather<int8_t>(data, pixels, n, screen, out);
        case ElementType::i2: return gather<int16_t>(data, pixels, n, screen, out);
        case ElementType::i4: return gather<int32_t>(data, pixels, n, screen, out);
        case ElementType::f4: return gather<float>(data, pixels, n, screen, out);
        case ElementType::f8: return gather<double>(data, pixels, n, screen, out);
    }
}

FRIEDEL_VECTOR_CLONES void arrange(const double *raw, const float *share, const float *norm, const double *dark, double *x,
                                   double *a, double *c, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        const double w = norm ? static_cast<double>(norm[i]) : 1.0;
        x[i] = (dark ? raw[i] - dark[i] : raw[i]) / w;
        a[i] = share ? share[i] * w : w;
    }
    if (share)
        for (std::size_t i = 0; i < n; ++i) c[i] = share[i];
}

FRIEDEL_VECTOR_CLONES void count_variances(const double *raw, const float *share, const double *dark_variance, double *v,
                                           std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        const double c = share ? static_cast<double>(share[i]) : 1.0;
        v[i] = c * c * ((raw[i] > 1.0 ? raw[i] : 1.0) + (dark_variance ? dark_variance[i] : 0.0));
    }
}

FRIEDEL_VECTOR_CLONES bool any_odd(const double *raw, std::size_t n) {
    std::int64_t odd = 0;
    for (std::size_t i = 0; i < n; ++i) odd |= raw[i] >= 0 ? 0 : 1;  // below zero, or NaN
    return odd;
}

void keep_valid(Values &values) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < values.n; ++i) {
        const bool keep = values.x[i] == values.x[i];
        values.x[kept] = values.x[i];
        values.a[kept] = values.a[i];
        if (values.v) values.v[kept] = values.v[i];
        if (values.c) values.c[kept] = values.c[i];
        kept += keep;
    }
    values.n = kept;
    values.left = static_cast<double>(kept);
}

struct Bench {  // where one thread works
    std::vector<double> raw, x, a, v, c;
    std::vector<uint8_t> taken;

    void fit(std::size_t n) {
        if (raw.size() >= n + WIDTH) return;
        for (auto *array : {&raw, &x, &a, &v, &c}) array->resize(n + WIDTH);
    }
};

struct Request {
    Entries entries;
    ElementType type;
    ErrorModel model;     // whose variances are returned
    bool hybrid = false;  // clip by the spread of the ring whatever the model
    Screen screen;
    std::vector<Frame> frames;
    double *signal, *normalization, *squared, *count, *variance, *rejected;  // (n_frames, n_bins)
};

// The valid entries of a bin; counts the pixels below zero.
Values values_of(const Request &request, const Frame &frame, int64_t bin, Bench &bench, uint64_t &negative) {
    const Entries &entries = request.entries;
    const int64_t start = entries.starts[bin];
    const std::size_t n = static_cast<std::size_t>(entries.starts[bin + 1] - start);
    bench.fit(n);
    const uint32_t *pixels = entries.pixels + start;
    const float *share = entries.shares ? entries.shares + start : nullptr;
    const double *dark_variance = entries.dark_variance ? entries.dark_variance + start : nullptr;
    double *raw = bench.raw.data();
    gather(request.type, frame.data, pixels, n, request.screen, raw);
    if (request.model == ErrorModel::variance)
        for (std::size_t i = 0; i < n; ++i)
            if (!std::isfinite(frame.variance[pixels[i] & ~counts_for_pixel])) raw[i] = std::numeric_limits<double>::quiet_NaN();
    Values values{bench.x.data(), bench.a.data(), nullptr, share ? bench.c.data() : nullptr, n, static_cast<double>(n)};
    arrange(raw, share, entries.normalization ? entries.normalization + start : nullptr,
            entries.dark ? entries.dark + start : nullptr, values.x, values.a, values.c, n);
    if (request.model == ErrorModel::poisson) {
        values.v = bench.v.data();
        count_variances(raw, share, dark_variance, values.v, n);
    } else if (request.model == ErrorModel::variance) {
        values.v = bench.v.data();
        for (std::size_t i = 0; i < n; ++i) {
            const double c = share ? static_cast<double>(share[i]) : 1.0;
            values.v[i] = c * c * (frame.variance[pixels[i] & ~counts_for_pixel] + (dark_variance ? dark_variance[i] : 0.0));
        }
    }
    if (any_odd(raw, n)) {
        for (std::size_t i = 0; i < n; ++i) negative += raw[i] < 0 && pixels[i] & counts_for_pixel;
        keep_valid(values);
    }
    values.fill_up();
    return values;
}

void write(const Request &request, std::size_t at, const Values &values, double rejected) {
    const Moments sums = moments(values);
    request.signal[at] = sums.signal;
    request.normalization[at] = sums.weight;
    request.squared[at] = sums.squared;
    request.count[at] = sums.count;
    request.rejected[at] = rejected;
    if (request.model == ErrorModel::none) return;
    request.variance[at] = sums.weight == 0 ? 0 : values.v ? sum_of(values.v, values.vectors()) : spread(values, sums.mean());
}

// Do function(frame, bin, bench, negative) for all, on several threads. Returns the pixels below zero in each frame.
template <class Function>
std::vector<uint64_t> for_all_bins(const Request &request, int threads, Function &&function) {
    const int64_t n_bins = request.entries.n_bins;
    const std::size_t chunks = std::clamp<std::size_t>(n_bins, 1, chunks_per_frame);
    const auto *begin = request.entries.starts, *end = begin + n_bins;
    std::vector<int64_t> limits(chunks + 1, n_bins);
    for (std::size_t k = 0; k < chunks; ++k)
        limits[k] = k ? std::lower_bound(begin, end, static_cast<int64_t>(*end * (static_cast<double>(k) / chunks))) - begin : 0;
    std::vector<uint64_t> negative(request.frames.size() * chunks);
    parallel_for(negative.size(), threads, [&](std::size_t item) {
        thread_local Bench bench;
        const std::size_t frame = item / chunks;
        for (int64_t bin = limits[item % chunks]; bin < limits[item % chunks + 1]; ++bin)
            function(frame, bin, bench, negative[item]);
    });
    std::vector<uint64_t> sums(request.frames.size());
    for (std::size_t item = 0; item < negative.size(); ++item) sums[item / chunks] += negative[item];
    return sums;
}

// ---- sigma clipping ------------------------------------------------------------------------------------------

double chauvenet(double count, double threshold) {
    return std::max(threshold, std::sqrt(2 * std::log(std::max(count, 3.0) / std::sqrt(2 * std::numbers::pi))));
}

// Drop outliers until there are none. Returns the sum of c of those dropped.
double clip(const Request &request, Values &values, double threshold, int iterations) {
    double rejected = 0;
    for (int round = 0; round < iterations && values.n > 0; ++round) {
        const Moments sums = moments(values);
        const double mean = sums.mean(), factor = chauvenet(sums.count, threshold);
        const auto of_ring = [&] { return std::sqrt(spread(values, mean) / sums.squared); };
        const bool by_counts = values.v && !request.hybrid;
        double limit = factor * (by_counts ? std::sqrt(sum_of(values.v, values.vectors()) / sums.squared) : of_ring());
        if (by_counts && find(values, mean, limit).share > sums.count / 2) limit = factor * of_ring();
        const Outliers dropped = drop(values, mean, limit);
        if (dropped.number == 0) break;
        rejected += dropped.share;
    }
    return rejected;
}

// ---- percentiles ---------------------------------------------------------------------------------------------

// Weighted ranks between which entries are taken.
struct Window {
    double low, high;
    bool touching;  // whether an entry is taken that lies in part in the window, or only one that lies in it as a whole

    bool takes(double before, double after) const {
        return touching ? before <= high && after >= low : before >= low && after <= high;
    }
    // Whether an entry of a group of several may be taken; whether all are.
    bool may_take(double before, double after) const { return before <= high && after >= low; }
    bool takes_all(double before, double after) const { return before >= low && after <= high; }
};

constexpr int buckets = 256;

// Number of the bucket of each value: 1 to 254 between the limits, 0 below and 255 above them.
FRIEDEL_VECTOR_CLONES void put_into_buckets(const double *x, std::size_t n, double low, double scale, uint8_t *bucket) {
    for (std::size_t i = 0; i < n; ++i) {
        double place = (x[i] - low) * scale + 1.0;
        place = place < 0.0 ? 0.0 : place;
        place = place > buckets - 1 ? buckets - 1 : place;
        bucket[i] = static_cast<uint8_t>(static_cast<int32_t>(place));
    }
}

// Mark the entries whose ranks lie in the window, without sorting all of them: the range of values is cut into buckets,
// and only those at the ends of the window are looked into. Entries of equal value have the order that they have in the
// bin.
class Selection {
  public:
    Selection(const Values &values, const Window &window, std::vector<uint8_t> &taken)
        : values_(values), window_(window), taken_(taken) {}

    // Whether any is taken of all entries.
    bool choose() {
        std::vector<uint32_t> all(values_.n);
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint32_t>(i);
        any_ = false;
        choose(all, 0.0, true);
        return any_;
    }

  private:
    void choose(const std::vector<uint32_t> &group, double before, bool sampled) {
        constexpr std::size_t small = 48;
        const std::size_t n = group.size();
        if (n <= small) return walk(group, before);
        std::vector<double> x(n);
        for (std::size_t k = 0; k < n; ++k) x[k] = values_.x[group[k]];
        auto [low, high] = limits(x, sampled);
        if (!(low < high)) {
            if (sampled) return choose(group, before, false);
            return walk(group, before);
        }
        const double scale = (buckets - 2) / (high - low);
        if (!std::isfinite(scale)) return walk(group, before);
        std::vector<uint8_t> bucket(n);
        put_into_buckets(x.data(), n, low, scale, bucket.data());
        double weights[buckets] = {};
        std::size_t sizes[buckets] = {};
        for (std::size_t k = 0; k < n; ++k) {
            weights[bucket[k]] += values_.a[group[k]];
            ++sizes[bucket[k]];
        }
        enum Fate : uint8_t { none, all, look };
        Fate fates[buckets];
        double ranks[buckets];
        std::vector<uint32_t> inner[buckets];
        for (int b = 0; b < buckets; ++b) {
            ranks[b] = before;
            const double after = before + weights[b];
            fates[b] = sizes[b] == 0 || !window_.may_take(before, after) ? none : window_.takes_all(before, after) ? all : look;
            if (fates[b] == look) inner[b].reserve(sizes[b]);
            before = after;
        }
        for (std::size_t k = 0; k < n; ++k) {
            const Fate fate = fates[bucket[k]];
            taken_[group[k]] |= fate == all;
            any_ |= fate == all;
            if (fate == look) inner[bucket[k]].push_back(group[k]);
        }
        for (int b = 0; b < buckets; ++b) {
            if (fates[b] != look) continue;
            if (inner[b].size() < n)
                choose(inner[b], ranks[b], true);
            else if (sampled)
                choose(inner[b], ranks[b], false);
            else
                walk(inner[b], ranks[b]);
        }
    }

    // Between which values buckets lie: all, or most of them, as a sample tells, so that few far outliers do not leave
    // all the others in one bucket.
    static std::pair<double, double> limits(const std::vector<double> &x, bool sampled) {
        constexpr std::size_t samples = 64, least = 256;
        if (sampled && x.size() >= least) {
            double some[samples];
            for (std::size_t k = 0; k < samples; ++k) some[k] = x[k * x.size() / samples];
            std::sort(some, some + samples);
            return {some[2], some[samples - 3]};
        }
        const auto [low, high] = std::minmax_element(x.begin(), x.end());
        return {*low, *high};
    }

    void walk(std::vector<uint32_t> group, double before) {
        std::stable_sort(group.begin(), group.end(), [&](uint32_t i, uint32_t j) { return values_.x[i] < values_.x[j]; });
        for (const uint32_t i : group) {
            const double after = before + values_.a[i];
            if (window_.takes(before, after)) any_ = taken_[i] = true;
            before = after;
        }
    }

    const Values &values_;
    const Window &window_;
    std::vector<uint8_t> &taken_;
    bool any_ = false;
};

constexpr double rounding = 1e-12;  // of the weight of a bin: ranks are sums

// Keep what lies between two fractions of the weight. Returns the sum of c of what goes.
double keep_between(Values &values, double low, double high, Bench &bench) {
    if (values.n == 0) return 0;
    const Moments sums = moments(values);
    const double slack = rounding * sums.weight;
    auto &taken = bench.taken;
    taken.assign(values.n, 0);
    const bool point = high - low <= 4 * rounding;
    const double from = low * sums.weight, to = high * sums.weight;
    const Window inside{from - slack, to + slack, false};
    if (point || !Selection(values, inside, taken).choose()) {
        const Window touched{point ? from - slack : from + slack, point ? to + slack : to - slack, true};
        Selection(values, touched, taken).choose();
    }
    double kept = 0;
    std::size_t k = 0;
    for (std::size_t i = 0; i < values.n; ++i) {
        if (!taken[i]) continue;
        values.x[k] = values.x[i];
        values.a[k] = values.a[i];
        if (values.v) values.v[k] = values.v[i];
        if (values.c) values.c[k] = values.c[i];
        kept += values.c ? values.c[k] : 1.0;
        ++k;
    }
    const bool whole = k == values.n;
    values.n = k;
    values.left = static_cast<double>(k);
    values.fill_up();
    return whole ? 0 : sums.count - kept;
}

// ---- python --------------------------------------------------------------------------------------------------

class OrderedMap {
  public:
    OrderedMap(Vector1<int64_t> starts, Vector1<uint32_t> pixels, std::optional<Vector1<float>> shares,
               std::optional<Vector1<float>> normalization, std::optional<Vector1<double>> dark,
               std::optional<Vector1<double>> dark_variance, int64_t n_pixels)
        : n_pixels(n_pixels), size_(pixels.size()) {
        const int64_t *first = hold(starts);
        entries = {static_cast<int64_t>(starts.size()) - 1, first, hold(pixels), hold(shares), hold(normalization), hold(dark),
                   hold(dark_variance)};
        if (entries.n_bins < 0 || first[0] != 0 || first[entries.n_bins] != static_cast<int64_t>(size_) ||
            !std::is_sorted(first, first + starts.size()))
            throw nb::value_error("the starts of the bins do not fit the entries");
        for (std::size_t i = 0; i < size_; ++i)
            if (static_cast<int64_t>(pixels.data()[i] & ~counts_for_pixel) >= n_pixels)
                throw nb::value_error("an entry is for a pixel that does not exist");
    }
    Entries entries;
    int64_t n_pixels;

  private:
    template <class T>
    const T *hold(const Vector1<T> &array) {
        held_.push_back(nb::cast(array));
        return array.data();
    }
    template <class T>
    const T *hold(const std::optional<Vector1<T>> &array) {
        if (!array) return nullptr;
        if (array->size() != size_) throw nb::value_error("one value for each entry is needed");
        return hold(*array);
    }
    std::size_t size_;
    std::vector<nb::object> held_;
};

using Sums = Array<double, nb::ndim<3>>;  // (6, n_frames, n_bins)

Request request_of(const OrderedMap &map, const std::vector<Vector1<uint8_t>> &buffers, int type, int model,
                   const std::optional<Array<const double, nb::ndim<2>>> &variance,
                   std::optional<std::pair<uint32_t, uint32_t>> integer_range, std::optional<std::pair<double, double>> float_range,
                   const Sums &sums) {
    Request request;
    request.entries = map.entries;
    request.type = static_cast<ElementType>(type);
    request.model = static_cast<ErrorModel>(model);
    request.screen = {integer_range || float_range, 0, 0, 0, 0};
    if (integer_range) std::tie(request.screen.low, request.screen.span) = *integer_range;
    if (float_range) std::tie(request.screen.dummy, request.screen.delta) = *float_range;
    constexpr std::size_t sizes[] = {1, 2, 4, 1, 2, 4, 4, 8};
    const std::size_t n = buffers.size();
    if (sums.shape(0) != 6 || sums.shape(1) != n || static_cast<int64_t>(sums.shape(2)) != map.entries.n_bins)
        throw nb::value_error("sums must be (6, frames, bins)");
    for (std::size_t f = 0; f < n; ++f) {
        if (buffers[f].size() != map.n_pixels * sizes[type]) throw nb::value_error("a frame has another size than the map");
        const double *own = variance ? variance->data() + (variance->shape(0) > 1 ? f * variance->shape(1) : 0) : nullptr;
        request.frames.push_back({buffers[f].data(), buffers[f].size(), own});
    }
    double *row = sums.data();
    for (double **to : {&request.signal, &request.normalization, &request.squared, &request.count, &request.variance,
                        &request.rejected}) {
        *to = row;
        row += n * map.entries.n_bins;
    }
    return request;
}

std::vector<uint64_t> clip_frames(const OrderedMap &map, const std::vector<Vector1<uint8_t>> &buffers, int type, int model,
                                  bool hybrid, std::optional<Array<const double, nb::ndim<2>>> variance,
                                  std::optional<std::pair<uint32_t, uint32_t>> integer_range,
                                  std::optional<std::pair<double, double>> float_range, double threshold, int iterations,
                                  Sums sums, int threads) {
    Request request = request_of(map, buffers, type, model, variance, integer_range, float_range, sums);
    request.hybrid = hybrid;
    nb::gil_scoped_release release;
    return for_all_bins(request, threads, [&](std::size_t frame, int64_t bin, Bench &bench, uint64_t &negative) {
        Values values = values_of(request, request.frames[frame], bin, bench, negative);
        const double rejected = clip(request, values, threshold, iterations);
        write(request, frame * map.entries.n_bins + bin, values, rejected);
    });
}

std::vector<uint64_t> percentile_frames(const OrderedMap &map, const std::vector<Vector1<uint8_t>> &buffers, int type, int model,
                                        std::optional<Array<const double, nb::ndim<2>>> variance,
                                        std::optional<std::pair<uint32_t, uint32_t>> integer_range,
                                        std::optional<std::pair<double, double>> float_range, double low, double high,
                                        Sums sums, int threads) {
    const Request request = request_of(map, buffers, type, model, variance, integer_range, float_range, sums);
    nb::gil_scoped_release release;
    return for_all_bins(request, threads, [&](std::size_t frame, int64_t bin, Bench &bench, uint64_t &negative) {
        Values values = values_of(request, request.frames[frame], bin, bench, negative);
        const double rejected = keep_between(values, low, high, bench);
        write(request, frame * map.entries.n_bins + bin, values, rejected);
    });
}
}  // namespace

void bind_robust(nb::module_ &m) {
    nb::class_<OrderedMap>(m, "OrderedMap")
        .def(nb::init<Vector1<int64_t>, Vector1<uint32_t>, std::optional<Vector1<float>>, std::optional<Vector1<float>>,
                      std::optional<Vector1<double>>, std::optional<Vector1<double>>, int64_t>(),
             nb::arg("starts"), nb::arg("pixels"), nb::arg("shares").none(), nb::arg("normalization").none(),
             nb::arg("dark").none(), nb::arg("dark_variance").none(), nb::arg("n_pixels"))
        .def("clip", &clip_frames, nb::arg("buffers"), nb::arg("type"), nb::arg("model"), nb::arg("hybrid"),
             nb::arg("variance").none(), nb::arg("integer_range").none(), nb::arg("float_range").none(), nb::arg("threshold"),
             nb::arg("iterations"), nb::arg("sums"), nb::arg("threads"))
        .def("percentile", &percentile_frames, nb::arg("buffers"), nb::arg("type"), nb::arg("model"),
             nb::arg("variance").none(), nb::arg("integer_range").none(), nb::arg("float_range").none(), nb::arg("low"),
             nb::arg("high"), nb::arg("sums"), nb::arg("threads"));
}
}  // namespace friedel
