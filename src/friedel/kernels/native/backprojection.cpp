// Twin of kernels/backprojection.py. For each line and picture row the indices and coefficients are found once, then used for
// every vector of channels. A pixel sums its lines in order and a sample its pixels in order, whatever the number of threads.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "bindings.hpp"
#include "lanes.hpp"
#include "parallel.hpp"

namespace nb = nanobind;

namespace friedel {
namespace {
using Channels = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Result = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Values = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

constexpr std::size_t ROWS = 8;   // picture rows that are summed together: they stay in the second-level cache
constexpr std::size_t GROUP = 4;  // lines that are summed together

struct Geometry {
    const double *offset, *step_x, *step_y, *width;
    std::size_t n_lines, n_samples, size;
    double reach;
};

// Coefficients of one picture row on one line: sample `lower` (0 is the zero before the first) and the one after it.
struct Row {
    explicit Row(std::size_t n) : lower(n), first(n), second(n) {}
    std::vector<std::int32_t> lower;
    std::vector<float> first, second;
};

FRIEDEL_CLONES void find_row(const Geometry &g, std::size_t a, std::size_t y, Row &row) {
    const double start = g.offset[a] + g.step_y[a] * static_cast<double>(y), step = g.step_x[a], width = g.width[a];
    const double last = static_cast<double>(g.n_samples) - 1 + g.reach;
    std::int32_t *lower = row.lower.data();
    float *first = row.first.data(), *second = row.second.data();
    for (std::size_t x = 0; x < g.size; ++x) {
        const double t = start + step * static_cast<double>(x);
        const double inside = t > -g.reach && t < last ? 1.0 : 0.0;
        const double whole = inside > 0 ? std::floor(t) : 0.0, fraction = inside > 0 ? t - whole : 0.0;
        const double near = 1 - fraction / width, far = 1 - (1 - fraction) / width;
        lower[x] = static_cast<std::int32_t>(whole) + 1;
        first[x] = static_cast<float>((near > 0 ? near : 0) / width * inside);
        second[x] = static_cast<float>((far > 0 ? far : 0) / width * inside);
    }
}

// (n, m, channel) as [chunk][n][before + m + before] vectors of sixteen channels, zero where there is nothing.
std::vector<Lanes> in_chunks(const float *from, std::size_t n, std::size_t m, std::size_t n_channels, std::size_t before) {
    const std::size_t chunks = (n_channels + LANES - 1) / LANES, wide = m + 2 * before;
    std::vector<Lanes> to(chunks * n * wide, Lanes{});
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < m; ++j)
            for (std::size_t c = 0; c < chunks; ++c)
                load_lanes(to[(c * n + i) * wide + before + j], from + (i * m + j) * n_channels + c * LANES,
                           n_channels - c * LANES);
    return to;
}

FRIEDEL_CLONES void add_interpolated(const Row &row, std::size_t n, const Lanes *samples, Lanes *sum) {
    for (std::size_t x = 0; x < n; ++x) {
        const Lanes *at = samples + row.lower[x];
        sum[x] += at[0] * row.first[x] + at[1] * row.second[x];
    }
}

FRIEDEL_CLONES void add_variance(const Row &row, std::size_t n, const Lanes *samples, const Lanes *products, Lanes *sum) {
    for (std::size_t x = 0; x < n; ++x) {
        const Lanes *at = samples + row.lower[x];
        const float a = row.first[x], b = row.second[x];
        sum[x] += (at[0] * (a * a) + at[1] * (b * b)) + products[row.lower[x]] * (2 * a * b);
    }
}

FRIEDEL_CLONES void add_projected(const Row &row, std::size_t n, const Lanes *picture, Lanes *sum) {
    for (std::size_t x = 0; x < n; ++x) {
        Lanes *at = sum + row.lower[x];
        at[0] += picture[x] * row.first[x];
        at[1] += picture[x] * row.second[x];
    }
}

Geometry geometry(const Values &offset, const Values &step_x, const Values &step_y, const Values &width, std::size_t n_samples,
                  std::size_t size, double reach) {
    const std::size_t n = offset.shape(0);
    if (step_x.shape(0) != n || step_y.shape(0) != n || width.shape(0) != n || !(reach > 0 && reach <= 1))
        throw std::invalid_argument("the arrays of a line geometry do not fit together");
    for (std::size_t a = 0; a < n; ++a)
        if (!(width.data()[a] > 0 && width.data()[a] <= 1)) throw std::invalid_argument("a line's hat must be at most one sample wide");
    return {offset.data(), step_x.data(), step_y.data(), width.data(), n, n_samples, size, reach};
}

void backproject_lines(Channels samples, std::optional<Channels> products, Values offset, Values step_x, Values step_y, Values width,
                       double reach, int threads, Result picture) {
    const std::size_t n_channels = samples.shape(2), size = picture.shape(0);
    const Geometry g = geometry(offset, step_x, step_y, width, samples.shape(1), size, reach);
    if (samples.shape(0) != g.n_lines || picture.shape(1) != size || picture.shape(2) != n_channels)
        throw std::invalid_argument("samples and picture do not fit the lines");
    for (std::size_t axis = 0; products && axis < 3; ++axis)
        if (products->shape(axis) != samples.shape(axis)) throw std::invalid_argument("variances and covariances differ in shape");
    nb::gil_scoped_release release;
    const std::vector<Lanes> padded = in_chunks(samples.data(), g.n_lines, g.n_samples, n_channels, 1);
    const std::vector<Lanes> padded_products =
        products ? in_chunks(products->data(), g.n_lines, g.n_samples, n_channels, 1) : std::vector<Lanes>();
    const std::size_t chunks = (n_channels + LANES - 1) / LANES, wide = g.n_samples + 2;
    parallel_for((size + ROWS - 1) / ROWS, threads, [&](std::size_t item) {
        const std::size_t row0 = item * ROWS, rows = std::min(ROWS, size - row0);
        std::vector<Lanes> sums(chunks * rows * size, Lanes{});
        Row row(size);
        for (std::size_t a = 0; a < g.n_lines; ++a)
            for (std::size_t y = 0; y < rows; ++y) {
                find_row(g, a, row0 + y, row);
                for (std::size_t c = 0; c < chunks; ++c) {
                    const std::size_t line = (c * g.n_lines + a) * wide;
                    Lanes *sum = sums.data() + (c * rows + y) * size;
                    if (products) add_variance(row, size, padded.data() + line, padded_products.data() + line, sum);
                    else add_interpolated(row, size, padded.data() + line, sum);
                }
            }
        for (std::size_t y = 0; y < rows; ++y)
            for (std::size_t x = 0; x < size; ++x)
                for (std::size_t c = 0; c < chunks; ++c)
                    store_lanes(picture.data() + ((row0 + y) * size + x) * n_channels + c * LANES, sums[(c * rows + y) * size + x],
                                n_channels - c * LANES);
    });
}

void project_lines(Channels picture, Values offset, Values step_x, Values step_y, Values width, double reach, int threads, Result samples) {
    const std::size_t n_channels = picture.shape(2), size = picture.shape(0);
    const Geometry g = geometry(offset, step_x, step_y, width, samples.shape(1), size, reach);
    if (samples.shape(0) != g.n_lines || picture.shape(1) != size || samples.shape(2) != n_channels)
        throw std::invalid_argument("samples and picture do not fit the lines");
    nb::gil_scoped_release release;
    const std::vector<Lanes> chunked = in_chunks(picture.data(), size, size, n_channels, 0);
    const std::size_t chunks = (n_channels + LANES - 1) / LANES, wide = g.n_samples + 2;
    parallel_for((g.n_lines + GROUP - 1) / GROUP, threads, [&](std::size_t item) {
        const std::size_t line0 = item * GROUP, lines = std::min(GROUP, g.n_lines - line0);
        std::vector<Lanes> sums(chunks * lines * wide, Lanes{});
        Row row(size);
        for (std::size_t y = 0; y < size; ++y)
            for (std::size_t a = 0; a < lines; ++a) {
                find_row(g, line0 + a, y, row);
                for (std::size_t c = 0; c < chunks; ++c)
                    add_projected(row, size, chunked.data() + (c * size + y) * size, sums.data() + (c * lines + a) * wide);
            }
        for (std::size_t a = 0; a < lines; ++a)
            for (std::size_t i = 0; i < g.n_samples; ++i)
                for (std::size_t c = 0; c < chunks; ++c)
                    store_lanes(samples.data() + ((line0 + a) * g.n_samples + i) * n_channels + c * LANES,
                                sums[(c * lines + a) * wide + 1 + i], n_channels - c * LANES);
    });
}
}  // namespace

void bind_backprojection(nb::module_ &m) {
    m.def("backproject_lines", &backproject_lines, nb::arg("samples"), nb::arg("products").none(), nb::arg("offset"), nb::arg("step_x"), nb::arg("step_y"),
          nb::arg("width"), nb::arg("reach"), nb::arg("threads"), nb::arg("picture"),
          "Sums of lines in each pixel; see friedel.kernels.backprojection.Lines.backproject.");
    m.def("project_lines", &project_lines, "Sums of a picture along lines; see friedel.kernels.backprojection.Lines.project.");
}
}  // namespace friedel
