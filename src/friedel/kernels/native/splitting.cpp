// Sparse pixel -> bin map, one pixel after the other: the compiled twin of friedel/kernels/splitting.py, which
// says what each rule means. Only + - * / and comparisons are used, so that the map is the same everywhere.
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "bindings.hpp"

namespace nb = nanobind;

namespace friedel {
namespace {
using Values = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Corners = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;  // (pixels, corners)
using Mask = nb::ndarray<const bool, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A share below half a unit in the last place of a float32 one cannot be told from rounding.
constexpr double smallest_share = 1.0 / (1 << 24);
// A polygon this thin against its own bounding box has no area to divide by.
constexpr double thinnest = 1e-12;
// A corner this near to the beam, against the other corners, has no azimuth of its own.
constexpr double at_pole = 1e-9;
// Quadrilaterals and hexagons, and room for what a user draws.
constexpr int most_corners = 12;

struct Axis {
    double low, step;
    std::int64_t n;
    double turn;  // bins for one full turn, 0 where the axis is no angle
    double scaled(double value) const { return (value - low) / step; }
    double top() const { return turn > 0 ? std::min<double>(n, turn) : n; }
};

struct Shares {
    std::vector<std::int32_t> counts, bins;
    std::vector<float> weights;
    explicit Shares(std::size_t n_pixels) : counts(n_pixels, 0) {
        bins.reserve(n_pixels + n_pixels / 2);
        weights.reserve(n_pixels + n_pixels / 2);
    }
    void add(std::size_t pixel, std::int64_t bin, double weight) {
        bins.push_back(static_cast<std::int32_t>(bin));
        weights.push_back(static_cast<float>(weight));
        ++counts[pixel];
    }
    // Bins of one pixel in ascending order, each once: c² of the variance needs the whole share of a bin.
    void merge(std::size_t pixel) {
        const std::size_t count = counts[pixel], first = bins.size() - count;
        for (std::size_t i = first + 1; i < bins.size(); ++i)
            for (std::size_t k = i; k > first && bins[k] < bins[k - 1]; --k) {
                std::swap(bins[k], bins[k - 1]);
                std::swap(weights[k], weights[k - 1]);
            }
        std::size_t last = first;
        for (std::size_t i = first + 1; i < bins.size(); ++i) {
            if (bins[i] == bins[last])
                weights[last] += weights[i];
            else
                bins[++last] = bins[i], weights[last] = weights[i];
        }
        const std::size_t kept = count ? last + 1 - first : 0;
        bins.resize(first + kept);
        weights.resize(first + kept);
        counts[pixel] = static_cast<std::int32_t>(kept);
    }
};

template <class Element>
nb::object give(std::vector<Element> &&values) {
    auto *owned = new std::vector<Element>(std::move(values));
    nb::capsule owner(owned, [](void *pointer) noexcept { delete static_cast<std::vector<Element> *>(pointer); });
    return nb::cast(nb::ndarray<nb::numpy, Element, nb::ndim<1>>(owned->data(), {owned->size()}, owner));
}

nb::tuple give(Shares &&shares) {
    return nb::make_tuple(give(std::move(shares.counts)), give(std::move(shares.bins)),
                          give(std::move(shares.weights)));
}

// The bin of an angle: as it is, or one or two turns further up or down.
bool place(const Axis &axis, double scaled, std::int64_t &bin) {
    for (const double shift : {0.0, axis.turn, -axis.turn, 2 * axis.turn, -2 * axis.turn}) {
        const double moved = scaled + shift;
        if (moved >= 0 && moved < axis.n) {
            bin = static_cast<std::int64_t>(moved);
            return true;
        }
        if (axis.turn == 0) break;
    }
    return false;
}

void share_point(double x, double y, const Axis &radial, const Axis *azimuth, std::size_t pixel, Shares &shares) {
    if (!(x >= 0 && x < radial.n)) return;
    std::int64_t row = 0;
    if (azimuth && !place(*azimuth, y, row)) return;
    shares.add(pixel, row * radial.n + static_cast<std::int64_t>(x), 1.0);
}

// First and last whole turn by which [low, high] has to be moved to overlap with the axis.
std::pair<std::int64_t, std::int64_t> turns(const Axis &axis, double low, double high) {
    if (axis.turn == 0) return {0, 0};
    return {static_cast<std::int64_t>(std::ceil(-high / axis.turn)),
            static_cast<std::int64_t>(std::floor((axis.top() - low) / axis.turn))};
}

struct Span {
    std::int64_t first, last;
    Span(double low, double high, double top, std::int64_t n)
        : first(static_cast<std::int64_t>(std::floor(std::clamp(low, 0.0, top)))),
          last(std::min<std::int64_t>(n - 1, static_cast<std::int64_t>(std::floor(std::clamp(high, 0.0, top))))) {}
};

// What of the box lies below the beam, at x = pole, counts at the beam.
void share_box(double x0, double x1, double y0, double y1, double pole, const Axis &radial, const Axis *azimuth,
               std::size_t pixel, Shares &shares) {
    if (x1 <= 0 || x0 >= radial.n) return;
    const double low = std::max(x0, pole);
    const Span columns(low, x1, radial.n, radial.n);
    auto columns_of = [&](std::int64_t row, double height) {
        for (std::int64_t column = columns.first; column <= columns.last; ++column) {
            double width = std::min<double>(x1, column + 1) - std::max<double>(low, column);
            if (x0 < pole && pole >= column && pole < column + 1) width += pole - x0;
            const double share = height * (width / (x1 - x0));
            if (share > smallest_share) shares.add(pixel, row * radial.n + column, share);
        }
    };
    if (!azimuth) return columns_of(0, 1.0);
    const double top = azimuth->top();
    const auto [first_turn, last_turn] = turns(*azimuth, y0, y1);
    for (std::int64_t turn = first_turn; turn <= last_turn; ++turn) {
        const double low = y0 + turn * azimuth->turn, high = y1 + turn * azimuth->turn;
        if (high <= 0 || low >= top) continue;
        const Span rows(low, high, top, azimuth->n);
        for (std::int64_t row = rows.first; row <= rows.last; ++row) {
            const double upper = row + 1 == azimuth->n ? top : row + 1;
            const double height = std::min(high, upper) - std::max<double>(low, row);
            if (height > 0) columns_of(row, height / (y1 - y0));
        }
    }
    if (last_turn > first_turn) shares.merge(pixel);
}

// The outline of a pixel in (radial, azimuth) space, both in bins; its corners and 3 points for the beam.
struct Outline {
    double x[most_corners + 3], y[most_corners + 3];
    int n = 0;
    void add(double px, double py) { x[n] = px, y[n] = py, ++n; }
    double area() const {
        double twice = 0;
        for (int i = 0; i < n; ++i) {
            const int k = i + 1 < n ? i + 1 : 0;
            twice += (x[i] - x[0]) * (y[k] - y[0]) - (x[k] - x[0]) * (y[i] - y[0]);
        }
        return 0.5 * twice;
    }
};

bool outline_of(const double *r, const double *chi, int count, double pole, const Axis &radial, const Axis &azimuth,
                Outline &out) {
    double farthest = 0;
    for (int i = 0; i < count; ++i) {
        if (!std::isfinite(r[i]) || !std::isfinite(chi[i])) return false;
        farthest = std::max(farthest, std::abs(r[i] - pole));
    }
    auto short_way = [&](int from, int to) {
        const double step = azimuth.scaled(chi[to]) - azimuth.scaled(chi[from]);
        return azimuth.turn > 0 ? step - azimuth.turn * std::nearbyint(step / azimuth.turn) : step;
    };
    // The outline meets the beam at a corner or on an edge: there its azimuth jumps, so it is opened there.
    int start = 0, corners = count;
    bool opened = false;
    if (azimuth.turn > 0 && std::isfinite(pole))
        for (int i = 0; i < count && !opened; ++i) {
            const int next = i + 1 < count ? i + 1 : 0;
            if (std::abs(r[i] - pole) <= at_pole * farthest)
                start = next, corners = count - 1, opened = true;
            else if (std::abs(r[next] - pole) > at_pole * farthest &&
                     std::abs(short_way(i, next)) >= (0.5 - at_pole) * azimuth.turn)
                start = next, opened = true;
        }
    double y = azimuth.scaled(chi[start]);
    out.n = 0;
    out.add(radial.scaled(r[start]), y);
    for (int i = 1; i < corners; ++i) {
        const int corner = start + i < count ? start + i : start + i - count;
        y += short_way(corner ? corner - 1 : count - 1, corner);
        out.add(radial.scaled(r[corner]), y);
    }
    if (azimuth.turn == 0) return true;
    const double pole_x = radial.scaled(pole);
    if (opened) {
        out.add(pole_x, y);
        out.add(pole_x, out.y[0]);
        return true;
    }
    const double closed = y + short_way(count - 1, 0);
    if (std::abs(closed - out.y[0]) > 0.5 * azimuth.turn) {  // the outline runs round the beam
        if (!std::isfinite(pole)) return false;
        const double first = out.y[0];
        out.add(out.x[0], closed);
        out.add(pole_x, closed);
        out.add(pole_x, first);
    }
    return true;
}

// Mean over a straight edge from height a to height b of its part inside [low, high], counted from low.
double mean_inside(double a, double b, double low, double high) {
    if (a > b) std::swap(a, b);
    if (b <= low) return 0;
    if (a >= high) return high - low;
    if (a == b) return a - low;
    const double s = std::max(a, low), e = std::min(b, high), length = b - a;
    return (e - s) / length * (0.5 * (s - low) + 0.5 * (e - low)) + std::max(0.0, b - e) / length * (high - low);
}

struct Cells {
    std::vector<double> area;
    std::int64_t first_column, n_columns, first_row, n_rows;
    void reset(const Span &columns, const Span &rows) {
        first_column = columns.first, n_columns = columns.last - columns.first + 1;
        first_row = rows.first, n_rows = rows.last - rows.first + 1;
        area.assign(n_columns * n_rows, 0.0);
    }
};

// Green's theorem: the area inside a column is the integral of y dx along the pieces of the outline within it.
template <class Function>
void each_piece(const Outline &outline, const Span &columns, Function &&piece) {
    for (int i = 0; i < outline.n; ++i) {
        const int k = i + 1 < outline.n ? i + 1 : 0;
        double xa = outline.x[i], ya = outline.y[i], xb = outline.x[k], yb = outline.y[k], sign = 1;
        if (xa == xb) continue;
        if (xa > xb) std::swap(xa, xb), std::swap(ya, yb), sign = -1;
        if (xb <= columns.first || xa >= columns.last + 1) continue;
        const double slope = (yb - ya) / (xb - xa);
        const auto first = std::max(columns.first, static_cast<std::int64_t>(std::floor(xa)));
        const auto last = std::min(columns.last, static_cast<std::int64_t>(std::floor(xb)));
        for (std::int64_t column = first; column <= last; ++column) {
            const double left = std::max<double>(xa, column), right = std::min<double>(xb, column + 1);
            if (right > left)
                piece(column, sign * (right - left), ya + slope * (left - xa), ya + slope * (right - xa));
        }
    }
}

void share_outline(Outline &outline, const Axis &radial, const Axis &azimuth, bool two_dimensional, std::size_t pixel,
                   Shares &shares, Cells &cells) {
    const auto [x0, x1] = std::minmax_element(outline.x, outline.x + outline.n);
    const auto [y0, y1] = std::minmax_element(outline.y, outline.y + outline.n);
    const double xmin = *x0, xmax = *x1, ymin = *y0, ymax = *y1;
    if (xmax < 0 || xmin >= radial.n) return;
    const double area = outline.area();
    if (!(std::abs(area) > thinnest * (xmax - xmin) * (ymax - ymin)))
        return share_point(0.5 * (xmin + xmax), 0.5 * (ymin + ymax), radial, two_dimensional ? &azimuth : nullptr,
                           pixel, shares);
    const Span columns(xmin, xmax, radial.n, radial.n);
    if (!two_dimensional) {
        if (columns.first == columns.last && xmin >= 0 && xmax <= radial.n)
            return shares.add(pixel, columns.first, 1.0);
        cells.reset(columns, Span(0, 0, 1, 1));
        each_piece(outline, columns, [&](std::int64_t column, double width, double ya, double yb) {
            cells.area[column - columns.first] += width * (0.5 * (ya - ymin) + 0.5 * (yb - ymin));
        });
        for (std::int64_t i = 0; i < cells.n_columns; ++i) {
            const double share = cells.area[i] / -area;
            if (share > smallest_share) shares.add(pixel, columns.first + i, share);
        }
        return;
    }
    const double top = azimuth.top();
    const auto [first_turn, last_turn] = turns(azimuth, ymin, ymax);
    for (std::int64_t turn = first_turn; turn <= last_turn; ++turn) {
        const double shift = turn * azimuth.turn;
        if (ymax + shift <= 0 || ymin + shift >= top) continue;
        const Span rows(ymin + shift, ymax + shift, top, azimuth.n);
        if (columns.first == columns.last && xmin >= 0 && xmax <= radial.n && rows.first == rows.last &&
            ymin + shift >= 0 && ymax + shift <= top) {
            shares.add(pixel, rows.first * radial.n + columns.first, 1.0);
            continue;
        }
        cells.reset(columns, rows);
        each_piece(outline, columns, [&](std::int64_t column, double width, double ya, double yb) {
            for (std::int64_t row = rows.first; row <= rows.last; ++row) {
                const double upper = row + 1 == azimuth.n ? top : row + 1;
                cells.area[(row - rows.first) * cells.n_columns + (column - columns.first)] +=
                    width * mean_inside(ya + shift, yb + shift, row, upper);
            }
        });
        for (std::int64_t row = 0; row < cells.n_rows; ++row)
            for (std::int64_t i = 0; i < cells.n_columns; ++i) {
                const double share = cells.area[row * cells.n_columns + i] / -area;
                if (share > smallest_share)
                    shares.add(pixel, (rows.first + row) * radial.n + columns.first + i, share);
            }
    }
    if (last_turn > first_turn) shares.merge(pixel);
}

// (low, step, n, turn), or () for no axis.
Axis axis_from(const nb::tuple &values) {
    if (values.size() == 0) return Axis{};
    return {nb::cast<double>(values[0]), nb::cast<double>(values[1]), nb::cast<std::int64_t>(values[2]),
            nb::cast<double>(values[3])};
}

nb::tuple split_centers(Values radial, Values azimuth, Mask mask, nb::tuple radial_axis, nb::tuple azimuth_axis) {
    const Axis r = axis_from(radial_axis), a = axis_from(azimuth_axis);
    const bool two = azimuth_axis.size() > 0;
    const std::size_t n = radial.shape(0);
    Shares shares(n);
    {
        nb::gil_scoped_release release;
        for (std::size_t i = 0; i < n; ++i)
            if (!mask.data()[i])
                share_point(r.scaled(radial.data()[i]), two ? a.scaled(azimuth.data()[i]) : 0.0, r,
                            two ? &a : nullptr, i, shares);
    }
    return give(std::move(shares));
}

nb::tuple split_boxes(Values radial, Values radial_half, Values azimuth, Values azimuth_half, Mask mask,
                      nb::tuple radial_axis, nb::tuple azimuth_axis, double pole) {
    const Axis r = axis_from(radial_axis), a = axis_from(azimuth_axis);
    const bool two = azimuth_axis.size() > 0;
    const std::size_t n = radial.shape(0);
    Shares shares(n);
    const double pole_x = std::isfinite(pole) ? r.scaled(pole) : -HUGE_VAL;
    {
        nb::gil_scoped_release release;
        for (std::size_t i = 0; i < n; ++i) {
            const double center = radial.data()[i], half = radial_half.data()[i];
            if (mask.data()[i] || !std::isfinite(center) || !std::isfinite(half)) continue;
            double x0 = r.scaled(center - half), x1 = r.scaled(center + half), y0 = 0, y1 = 0;
            if (two) {
                y0 = a.scaled(azimuth.data()[i] - azimuth_half.data()[i]);
                y1 = a.scaled(azimuth.data()[i] + azimuth_half.data()[i]);
                if (a.turn > 0 && y1 - y0 > a.turn) y1 = y0 + a.turn;
            }
            if (!(x1 > x0) || (two && !(y1 > y0)))
                share_point(0.5 * (x0 + x1), 0.5 * (y0 + y1), r, two ? &a : nullptr, i, shares);
            else
                share_box(x0, x1, y0, y1, pole_x, r, two ? &a : nullptr, i, shares);
        }
    }
    return give(std::move(shares));
}

nb::tuple split_polygons(Corners radial, Corners azimuth, Mask mask, nb::tuple radial_axis, nb::tuple azimuth_axis,
                         bool two_dimensional, double pole) {
    const Axis r = axis_from(radial_axis), a = axis_from(azimuth_axis);
    const std::size_t n = radial.shape(0), each = radial.shape(1);
    if (each < 3 || each > most_corners) throw nb::value_error("a pixel has 3 to 12 corners");
    if (azimuth.shape(0) != n || azimuth.shape(1) != each) throw nb::value_error("corners have two coordinates each");
    Shares shares(n);
    {
        nb::gil_scoped_release release;
        Cells cells;
        Outline outline;
        for (std::size_t i = 0; i < n; ++i)
            if (!mask.data()[i] && outline_of(radial.data() + each * i, azimuth.data() + each * i,
                                              static_cast<int>(each), pole, r, a, outline))
                share_outline(outline, r, a, two_dimensional, i, shares, cells);
    }
    return give(std::move(shares));
}

nb::tuple extent(Values values, Mask mask) {
    double low = HUGE_VAL, high = -HUGE_VAL;
    const std::size_t pixels = mask.shape(0), each = pixels ? values.shape(0) / pixels : 0;
    {
        nb::gil_scoped_release release;
        for (std::size_t i = 0; i < pixels; ++i) {
            if (mask.data()[i]) continue;
            for (std::size_t k = i * each; k < (i + 1) * each; ++k) {
                const double value = values.data()[k];
                if (!std::isfinite(value)) continue;
                low = std::min(low, value);
                high = std::max(high, value);
            }
        }
    }
    return nb::make_tuple(low, high);
}

void half_widths(Values centers, Corners corners, double turn,
                 nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu> result) {
    const std::size_t each = corners.shape(1);
    nb::gil_scoped_release release;
    for (std::size_t i = 0; i < centers.shape(0); ++i) {
        double widest = 0, sum = 0;
        for (std::size_t corner = 0; corner < each; ++corner) {
            double distance = std::abs(corners.data()[each * i + corner] - centers.data()[i]);
            if (turn > 0) distance = std::min(distance, std::abs(turn - distance));
            widest = std::max(widest, distance);
            sum += distance;
        }
        result.data()[i] = std::isnan(sum) ? sum : widest;  // a comparison would lose NaN
    }
}
}  // namespace

void bind_splitting(nb::module_ &m) {
    m.def("split_centers", &split_centers);
    m.def("split_boxes", &split_boxes);
    m.def("split_polygons", &split_polygons);
    m.def("half_widths", &half_widths);
    m.def("extent", &extent);
}
}  // namespace friedel
