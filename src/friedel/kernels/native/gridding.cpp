// Twin of kernels/gridding.py: lines -> spectra -> grid -> picture, sixteen channels at a time.
//
// The grid is never stored whole: a strip of rows is gathered from the samples, transformed along its rows and cropped while it lies
// in the second-level cache; then the kept columns are transformed two at a time (both are real, so one complex transform does them).
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <memory>

#include "bindings.hpp"
#include "lane_fourier.hpp"

namespace nb = nanobind;

namespace friedel {
namespace {
template <class T, std::size_t Dimensions>
using Array = nb::ndarray<const T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;

struct Tables {
    std::size_t n_lines, n_samples, n_channels, length, size, n_points, n_picture, strip;
    bool edge;
    const std::int32_t *used;
    const std::complex<float> *response;
    const std::int32_t *points;
    const std::int64_t *pointers;
    const std::int32_t *samples;
    const float *weights;
    const std::int32_t *crop;
    const float *scale;
};

// Buffers that a thread keeps until it ends: fresh pages for 50 MB cost as much as a third of the work on 32 channels.
// The threads of a runner live long and transform block after block; those of parallel_for would start anew each time.
struct Scratch {
    Pair *take(std::size_t n) {
        if (n > size_) {
            pairs_.reset();
            pairs_.reset(new Pair[n]);
            size_ = n;
        }
        return pairs_.get();
    }

  private:
    std::unique_ptr<Pair[]> pairs_;
    std::size_t size_ = 0;
};
thread_local Scratch kept_spectra, kept_strip, kept_columns, kept_line, kept_work;

// Two real lines, one as the real and one as the imaginary part of `line`, extended to the length of the transform.
FRIEDEL_CLONES void load_two_lines(const Tables &t, const float *first, const float *second, std::size_t lanes, Pair *line) {
    const std::size_t middle = t.n_samples + (t.length - t.n_samples) / 2;
    for (std::size_t i = 0; i < t.n_samples; ++i) {
        load_lanes(line[i].re, first + i * t.n_channels, lanes);
        if (second) load_lanes(line[i].im, second + i * t.n_channels, lanes);
        else line[i].im = Lanes{};
    }
    for (std::size_t i = t.n_samples; i < t.length; ++i)
        line[i] = !t.edge ? Pair{} : i < middle ? line[t.n_samples - 1] : line[0];
}

// The spectra of both real lines out of that of their sum; each times its response.
FRIEDEL_CLONES void separate_spectra(const Tables &t, const Pair *both, std::size_t first, bool second, Pair *spectra) {
    const std::size_t n = t.length / 2 + 1;
    for (std::size_t k = 0; k < n; ++k) {
        const Pair z = both[k], m = both[(t.length - k) % t.length];
        const Lanes a = (z.re + m.re) * 0.5f, b = (z.im - m.im) * 0.5f;
        const std::complex<float> f = t.response[first * n + k];
        spectra[first * n + k] = {a * f.real() - b * f.imag(), a * f.imag() + b * f.real()};
        if (!second) continue;
        const Lanes c = (z.im + m.im) * 0.5f, d = (m.re - z.re) * 0.5f;
        const std::complex<float> g = t.response[(first + 1) * n + k];
        spectra[(first + 1) * n + k] = {c * g.real() - d * g.imag(), c * g.imag() + d * g.real()};
    }
}

// The grid points `begin` to `end` (in the order of computation) into `strip`, which begins at row `row0`. Real and imaginary part
// change places, which turns the forward transform that follows into the inverse one.
FRIEDEL_CLONES void gather(const Tables &t, const Pair *spectra, std::size_t begin, std::size_t end, std::size_t row0, Pair *strip) {
    for (std::size_t p = begin; p < end; ++p) {
        Lanes re{}, im{}, opposite_re{}, opposite_im{};
        std::int64_t e = t.pointers[2 * p];
        for (; e < t.pointers[2 * p + 1]; ++e) {
            const Pair &sample = spectra[t.samples[e]];
            re += sample.re * t.weights[e];
            im += sample.im * t.weights[e];
        }
        for (; e < t.pointers[2 * p + 2]; ++e) {
            const Pair &sample = spectra[t.samples[e]];
            opposite_re += sample.re * t.weights[e];
            opposite_im += sample.im * t.weights[e];
        }
        strip[t.points[p] - row0 * t.size] = {im - opposite_im, re + opposite_re};
    }
}

FRIEDEL_CLONES void crop_row(const Tables &t, const Pair *row, Pair *kept) {
    for (std::size_t x = 0; x < t.n_picture; ++x) kept[x] = {row[t.crop[x]].im, row[t.crop[x]].re};
}

// Hermitian columns x and x + 1 as one complex line (again with its parts exchanged).
FRIEDEL_CLONES void load_two_columns(const Tables &t, const Pair *kept, std::size_t x, bool second, Pair *line) {
    const std::size_t half = t.size / 2;
    for (std::size_t n = 0; n <= half; ++n) {
        const Pair a = kept[n * t.n_picture + x], b = second ? kept[n * t.n_picture + x + 1] : Pair{};
        if (n == 0 || n == half) {
            line[n] = {b.re, a.re};
        } else {
            line[n] = {a.im + b.re, a.re - b.im};
            line[t.size - n] = {b.re - a.im, a.re + b.im};
        }
    }
}

FRIEDEL_CLONES void store_two_columns(const Tables &t, const Pair *line, std::size_t x, bool second, std::size_t lanes,
                                      float *picture) {
    for (std::size_t y = 0; y < t.n_picture; ++y) {
        const Pair &value = line[t.crop[y]];
        float *to = picture + (y * t.n_picture + x) * t.n_channels;
        store_lanes(to, value.im * t.scale[y] * t.scale[x], lanes);
        if (second) store_lanes(to + t.n_channels, value.re * t.scale[y] * t.scale[x + 1], lanes);
    }
}

void sixteen_channels(const Tables &t, const LaneFourier &along_line, const LaneFourier &along_grid, const float *lines,
                      std::size_t lanes, float *picture, Pair *spectra, Pair *strip, Pair *kept, Pair *line, Pair *work) {
    const std::size_t stride = t.n_samples * t.n_channels;
    for (std::size_t a = 0; a < t.n_lines; a += 2) {
        const bool second = a + 1 < t.n_lines;
        load_two_lines(t, lines + t.used[a] * stride, second ? lines + t.used[a + 1] * stride : nullptr, lanes, line);
        separate_spectra(t, along_line(line, work), a, second, spectra);
    }
    const std::size_t n_rows = t.size / 2 + 1;
    for (std::size_t row = 0; row < n_rows; row += t.strip) {
        const std::size_t end = std::min(row + t.strip, n_rows);
        gather(t, spectra, row * t.size, end * t.size, row, strip);
        for (std::size_t n = row; n < end; ++n)
            crop_row(t, along_grid(strip + (n - row) * t.size, work), kept + n * t.n_picture);
    }
    for (std::size_t x = 0; x < t.n_picture; x += 2) {
        const bool second = x + 1 < t.n_picture;
        load_two_columns(t, kept, x, second, line);
        store_two_columns(t, along_grid(line, work), x, second, lanes, picture);
    }
}

void lines_to_picture(nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu> lines, Array<std::int32_t, 1> used,
                      Array<std::complex<float>, 2> response, std::size_t length, bool edge, std::size_t size,
                      Array<std::int32_t, 1> points, Array<std::int64_t, 1> pointers, Array<std::int32_t, 1> samples,
                      Array<float, 1> weights, Array<std::int32_t, 1> crop, Array<float, 1> scale, std::size_t tile,
                      nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu> picture) {
    const Tables t{used.shape(0),   lines.shape(1), lines.shape(2),  length,         size,           points.shape(0),
                   crop.shape(0),   tile,           edge,            used.data(),    response.data(), points.data(),
                   pointers.data(), samples.data(), weights.data(),  crop.data(),    scale.data()};
    if (response.shape(0) != t.n_lines || response.shape(1) != length / 2 + 1 || t.n_samples > length || length % 2 || size % 2 ||
        t.n_points != (size / 2 + 1) * size || pointers.shape(0) != 2 * t.n_points + 1 || scale.shape(0) != t.n_picture ||
        picture.shape(0) != t.n_picture || picture.shape(1) != t.n_picture || picture.shape(2) != t.n_channels ||
        weights.shape(0) != samples.shape(0) || static_cast<std::size_t>(t.pointers[2 * t.n_points]) != samples.shape(0))
        throw std::invalid_argument("the arrays of a gridding plan do not fit together");
    nb::gil_scoped_release release;
    const LaneFourier along_line(length), along_grid(size);
    Pair *spectra = kept_spectra.take(t.n_lines * (length / 2 + 1)), *strip = kept_strip.take(tile * size);
    Pair *columns = kept_columns.take((size / 2 + 1) * t.n_picture);
    Pair *line = kept_line.take(std::max(length, size)), *work = kept_work.take(std::max(length, size));
    for (std::size_t c = 0; c < t.n_channels; c += LANES)
        sixteen_channels(t, along_line, along_grid, lines.data() + c, std::min(LANES, t.n_channels - c), picture.data() + c, spectra,
                         strip, columns, line, work);
}
}  // namespace

void bind_gridding(nb::module_ &m) {
    m.def("lines_to_picture", &lines_to_picture, "Pictures from lines by gridding; see friedel.kernels.gridding.LinesToPicture.");
}
}  // namespace friedel
