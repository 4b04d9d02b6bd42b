// A complex Fourier transform of one line whose elements are vectors of channels.
//
// Stockham's form (every stage reads one buffer and writes the other in natural order), radix 4, 2, 3 and 5. Because an
// element is a whole vector of channels there is no shuffling: each butterfly is plain arithmetic on registers.
#pragma once
#include <cmath>
#include <complex>
#include <stdexcept>
#include <vector>

#include "lanes.hpp"

namespace friedel {
class LaneFourier {
  public:
    explicit LaneFourier(std::size_t length) : length_(length) {
        std::size_t rest = length;
        for (std::size_t radix : {4, 2, 3, 5})
            while (rest % radix == 0) {
                add_stage(radix, rest);
                rest /= radix;
            }
        if (rest != 1) throw std::invalid_argument("the length of a transform must be a product of 2, 3 and 5");
    }

    std::size_t length() const { return length_; }

    // Transform `line` in place (sign of the exponent: minus); `work` has the same length. Returns which of the two
    // buffers holds the result.
    Pair *operator()(Pair *line, Pair *work) const {
        for (const Stage &stage : stages_) {
            run_stage(stage.radix, stage.groups, stage.stride, twiddles_.data() + stage.twiddle, line, work);
            std::swap(line, work);
        }
        return line;
    }

  private:
    struct Stage {
        std::size_t radix, groups, stride, twiddle;
    };

    void add_stage(std::size_t radix, std::size_t rest) {
        const std::size_t groups = rest / radix;
        stages_.push_back({radix, groups, length_ / rest, twiddles_.size()});
        for (std::size_t p = 0; p < groups; ++p)
            for (std::size_t j = 1; j < radix; ++j) {
                const double angle = -2 * M_PI * static_cast<double>(j * p) / static_cast<double>(rest);
                twiddles_.emplace_back(static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle)));
            }
    }

    static void run_stage(std::size_t radix, std::size_t groups, std::size_t stride, const std::complex<float> *twiddle,
                          const Pair *from, Pair *to);

    std::size_t length_;
    std::vector<Stage> stages_;
    std::vector<std::complex<float>> twiddles_;
};
}  // namespace friedel
