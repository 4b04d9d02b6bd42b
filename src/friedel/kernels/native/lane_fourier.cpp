#include "lane_fourier.hpp"

namespace friedel {
namespace {
FRIEDEL_INLINE Pair add(const Pair &a, const Pair &b) { return {a.re + b.re, a.im + b.im}; }
FRIEDEL_INLINE Pair subtract(const Pair &a, const Pair &b) { return {a.re - b.re, a.im - b.im}; }
FRIEDEL_INLINE Pair scaled(const Pair &a, float s) { return {a.re * s, a.im * s}; }
FRIEDEL_INLINE Pair times_minus_i(const Pair &a) { return {a.im, -a.re}; }
FRIEDEL_INLINE void store_times(Pair &to, const Pair &a, std::complex<float> w) {
    const float c = w.real(), s = w.imag();
    to.re = a.re * c - a.im * s;
    to.im = a.re * s + a.im * c;
}

FRIEDEL_CLONES void radix2(std::size_t groups, std::size_t stride, const std::complex<float> *w, const Pair *from, Pair *to) {
    const std::size_t leap = groups * stride;
    for (std::size_t p = 0; p < groups; ++p, w += 1)
        for (std::size_t q = 0; q < stride; ++q) {
            const Pair *x = from + q + stride * p;
            Pair *y = to + q + stride * 2 * p;
            const Pair a = x[0], b = x[leap];
            y[0] = add(a, b);
            store_times(y[stride], subtract(a, b), w[0]);
        }
}

FRIEDEL_CLONES void radix3(std::size_t groups, std::size_t stride, const std::complex<float> *w, const Pair *from, Pair *to) {
    const std::size_t leap = groups * stride;
    const float half_root3 = 0.866025403784438646763723170752936183f;
    for (std::size_t p = 0; p < groups; ++p, w += 2)
        for (std::size_t q = 0; q < stride; ++q) {
            const Pair *x = from + q + stride * p;
            Pair *y = to + q + stride * 3 * p;
            const Pair a = x[0], sum = add(x[leap], x[2 * leap]), difference = subtract(x[leap], x[2 * leap]);
            const Pair middle = subtract(a, scaled(sum, 0.5f)), turned = times_minus_i(scaled(difference, half_root3));
            y[0] = add(a, sum);
            store_times(y[stride], add(middle, turned), w[0]);
            store_times(y[2 * stride], subtract(middle, turned), w[1]);
        }
}

FRIEDEL_CLONES void radix4(std::size_t groups, std::size_t stride, const std::complex<float> *w, const Pair *from, Pair *to) {
    const std::size_t leap = groups * stride;
    for (std::size_t p = 0; p < groups; ++p, w += 3)
        for (std::size_t q = 0; q < stride; ++q) {
            const Pair *x = from + q + stride * p;
            Pair *y = to + q + stride * 4 * p;
            const Pair even_sum = add(x[0], x[2 * leap]), even_difference = subtract(x[0], x[2 * leap]);
            const Pair odd_sum = add(x[leap], x[3 * leap]);
            const Pair odd_turned = times_minus_i(subtract(x[leap], x[3 * leap]));
            y[0] = add(even_sum, odd_sum);
            store_times(y[stride], add(even_difference, odd_turned), w[0]);
            store_times(y[2 * stride], subtract(even_sum, odd_sum), w[1]);
            store_times(y[3 * stride], subtract(even_difference, odd_turned), w[2]);
        }
}

FRIEDEL_CLONES void radix5(std::size_t groups, std::size_t stride, const std::complex<float> *w, const Pair *from, Pair *to) {
    const std::size_t leap = groups * stride;
    const float cos1 = 0.309016994374947424102293417182819059f, cos2 = -0.809016994374947424102293417182819059f;
    const float sin1 = 0.951056516295153572116439333379382143f, sin2 = 0.587785252292473129168705954639072769f;
    for (std::size_t p = 0; p < groups; ++p, w += 4)
        for (std::size_t q = 0; q < stride; ++q) {
            const Pair *x = from + q + stride * p;
            Pair *y = to + q + stride * 5 * p;
            const Pair a = x[0];
            const Pair outer_sum = add(x[leap], x[4 * leap]), outer_difference = subtract(x[leap], x[4 * leap]);
            const Pair inner_sum = add(x[2 * leap], x[3 * leap]), inner_difference = subtract(x[2 * leap], x[3 * leap]);
            const Pair first = add(a, add(scaled(outer_sum, cos1), scaled(inner_sum, cos2)));
            const Pair second = add(a, add(scaled(outer_sum, cos2), scaled(inner_sum, cos1)));
            const Pair first_turned =
                times_minus_i(add(scaled(outer_difference, sin1), scaled(inner_difference, sin2)));
            const Pair second_turned =
                times_minus_i(subtract(scaled(outer_difference, sin2), scaled(inner_difference, sin1)));
            y[0] = add(a, add(outer_sum, inner_sum));
            store_times(y[stride], add(first, first_turned), w[0]);
            store_times(y[2 * stride], add(second, second_turned), w[1]);
            store_times(y[3 * stride], subtract(second, second_turned), w[2]);
            store_times(y[4 * stride], subtract(first, first_turned), w[3]);
        }
}
}  // namespace

void LaneFourier::run_stage(std::size_t radix, std::size_t groups, std::size_t stride, const std::complex<float> *twiddle,
                            const Pair *from, Pair *to) {
    switch (radix) {
        case 2: return radix2(groups, stride, twiddle, from, to);
        case 3: return radix3(groups, stride, twiddle, from, to);
        case 4: return radix4(groups, stride, twiddle, from, to);
        default: return radix5(groups, stride, twiddle, from, to);
    }
}
}  // namespace friedel
