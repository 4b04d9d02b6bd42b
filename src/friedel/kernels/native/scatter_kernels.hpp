// Frames to sums over bins: included once by scatter_<instruction set>.cpp, compiled with its flags.
// Everything here has internal linkage and uses no standard library templates, so that no code of a wide
// instruction set can take the place of the same function in another file.
//
// Several frames go through together, one in each lane of a vector: the map is read once for all of them,
// and a bin's sums of all frames are one vector. Lanes never mix, so a frame's sums do not depend on its company.
#pragma once
#include "scatter_invalid.hpp"
#include "scatter_sums.hpp"

namespace friedel {
namespace {
template <int Lanes, ErrorModel Model>
inline void process_tile(const Work &work, const Run &run, int64_t tile) {
    const Plan &plan = *work.plan;
    Scratch &scratch = *work.scratch;
    const int64_t left = plan.n_pixels - tile * tile_pixels;
    const int n = static_cast<int>(left < tile_pixels ? left : tile_pixels);
    Loaded loaded;
    with_form(run.form, [&](auto element) { loaded = load<Lanes, decltype(element)>(work, run, tile, n); });
    if constexpr (Model == ErrorModel::variance) loaded.invalid = load_variances<Lanes>(work, tile, n, loaded.invalid) || loaded.invalid;
    const Invalid invalid = loaded.invalid ? list_invalid(work, tile) : Invalid{};
    double *const signal = scratch.signal, *const variance = scratch.variance;
    if constexpr (Model == ErrorModel::azimuthal) {
        if (invalid) replace_by_nan<Lanes>(work, invalid, signal);
        if (plan.wide)
            scatter_spread<Lanes, uint32_t>(work, tile, signal);
        else
            scatter_spread<Lanes, uint16_t>(work, tile, signal);
    } else {
        if (invalid) leave_out<Lanes, Model>(work, invalid);
        if (loaded.below) count_negative<Lanes>(work, tile);
        if (plan.wide)
            scatter_tile<Lanes, Model, uint32_t>(plan, tile, signal, variance, work.piece);
        else
            scatter_tile<Lanes, Model, uint16_t>(plan, tile, signal, variance, work.piece);
        if (scratch.n_entries >= enough_entries) take_out(work);
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
    take_out(work);
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
    work.scratch->n_entries = 0;
    if (!source.open(work.piece_begin)) return;
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
