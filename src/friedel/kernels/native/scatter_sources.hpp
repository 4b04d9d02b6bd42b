// From frames, compressed or not, to runs of their elements.
// Part of scatter_kernels.hpp, and like it of internal linkage.
#pragma once
#include "decode_frames.hpp"
#include "scatter_elements.hpp"

namespace friedel {
namespace {
// Consecutive pixels of every frame, all in one form.
struct Run {
    int64_t start;
    int count;
    Form form;
    int form_size;
    const uint8_t *values[most_lanes];
};

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
}  // namespace
}  // namespace friedel
