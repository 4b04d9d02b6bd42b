// Twin of kernels/filtering.py. Two lines share one complex transform: the kernel is real, so they need not be separated.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <complex>
#include <memory>

#include "bindings.hpp"
#include "lane_fourier.hpp"

namespace nb = nanobind;

namespace friedel {
namespace {
struct Shape {
    std::size_t n_samples, n_channels, length;
    bool edge;
};

FRIEDEL_CLONES void load(const Shape &s, const float *first, const float *second, std::size_t lanes, Pair *line) {
    const std::size_t middle = s.n_samples + (s.length - s.n_samples) / 2;
    for (std::size_t i = 0; i < s.n_samples; ++i) {
        load_lanes(line[i].re, first + i * s.n_channels, lanes);
        if (second) load_lanes(line[i].im, second + i * s.n_channels, lanes);
        else line[i].im = Lanes{};
    }
    for (std::size_t i = s.n_samples; i < s.length; ++i) line[i] = !s.edge ? Pair{} : i < middle ? line[s.n_samples - 1] : line[0];
}

// Times the response; the parts change places, so that the next forward transform is the inverse.
FRIEDEL_CLONES void multiply(const Shape &s, const std::complex<float> *response, Pair *line) {
    const float norm = 1.0f / static_cast<float>(s.length);
    for (std::size_t k = 0; k < s.length; ++k) {
        const std::complex<float> value = k <= s.length / 2 ? response[k] : std::conj(response[s.length - k]);
        const float a = value.real() * norm, b = value.imag() * norm;
        line[k] = {line[k].re * b + line[k].im * a, line[k].re * a - line[k].im * b};
    }
}

FRIEDEL_CLONES void store(const Shape &s, const Pair *line, std::size_t lanes, float *first, float *second) {
    for (std::size_t i = 0; i < s.n_samples; ++i) {
        store_lanes(first + i * s.n_channels, line[i].im, lanes);
        if (second) store_lanes(second + i * s.n_channels, line[i].re, lanes);
    }
}

void filter_lines(nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu> lines,
                  nb::ndarray<const std::complex<float>, nb::ndim<1>, nb::c_contig, nb::device::cpu> response, bool edge,
                  nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu> filtered) {
    const Shape s{lines.shape(1), lines.shape(2), 2 * (response.shape(0) - 1), edge};
    if (s.n_samples > s.length || filtered.shape(0) != lines.shape(0) || filtered.shape(1) != s.n_samples || filtered.shape(2) != s.n_channels)
        throw std::invalid_argument("lines, response and result do not fit together");
    nb::gil_scoped_release release;
    const LaneFourier transform(s.length);
    const std::unique_ptr<Pair[]> line(new Pair[s.length]), work(new Pair[s.length]);
    const std::size_t n_lines = lines.shape(0), step = s.n_samples * s.n_channels;
    for (std::size_t c = 0; c < s.n_channels; c += LANES)
        for (std::size_t a = 0; a < n_lines; a += 2) {
            const bool second = a + 1 < n_lines;
            const std::size_t lanes = std::min(LANES, s.n_channels - c);
            const float *from = lines.data() + a * step + c;
            float *to = filtered.data() + a * step + c;
            load(s, from, second ? from + step : nullptr, lanes, line.get());
            Pair *spectrum = transform(line.get(), work.get());
            multiply(s, response.data(), spectrum);
            const Pair *result = transform(spectrum, spectrum == line.get() ? work.get() : line.get());
            store(s, result, lanes, to, second ? to + step : nullptr);
        }
}
}  // namespace

void bind_filtering(nb::module_ &m) {
    m.def("filter_lines", &filter_lines, "Convolved lines; see friedel.kernels.filtering.filter_lines.");
}
}  // namespace friedel
