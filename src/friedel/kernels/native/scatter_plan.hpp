// What the scatter kernels are given. Plain data: it crosses the border between the code that is compiled
// once and the kernels that are compiled for each instruction set.
#pragma once
#include <cstddef>
#include <cstdint>

namespace friedel {
// Pixels are handled in tiles. Inside a tile four streams of `tile_stride` pixels take turns, pixel
// 0, 128, 256, 384, 1, 129, ...: neighbours of a row often fall into the same bin, and adding to the same
// memory twice in a row costs the latency of a store and a load. This order, and no other, defines the sums.
constexpr int tile_pixels = 512, tile_words = tile_pixels / 64, tile_streams = 4, tile_stride = tile_pixels / tile_streams;
// Pieces of a frame begin at multiples of this, which is a multiple of every default bitshuffle block.
constexpr int piece_alignment = 8192;
constexpr int most_lanes = 8;

enum class ElementType : int { u1, u2, u4, i1, i2, i4, f4, f8 };
enum class Codec : int { none, bslz4, byte_offset };
enum class ErrorModel : int { none, poisson, variance, azimuthal };

// The packed map. Each pixel has `tile_bins[tile]` consecutive bins from its first one; what does not fit
// stands in the list of extras of its tile. A pixel without any entry has n_bins as its first bin.
constexpr int most_tile_bins = 32;
// Bins past the last one that kernels may add zeros to.
constexpr int64_t spare_bins = most_tile_bins + 1;
struct Plan {
    int64_t n_pixels, n_bins, n_tiles, piece_pixels;
    const void *first;         // (n_tiles, 512) uint16 or uint32, in the order of the streams
    bool wide;                 // first is uint32
    bool unit;                 // every pixel has at most one bin, of weight 1: there are no weights
    const uint8_t *tile_bins;  // (n_tiles,) bins per pixel, 0 for a tile without entries
    const int64_t *tile_weights;    // (n_tiles,) where the tile's weights start
    const float *weights;           // (512, tile_bins) for each tile, in the order of the streams
    const int64_t *extra_pointers;  // (n_tiles + 1,)
    const uint16_t *extra_pixels;   // number in the tile, in natural order, ascending
    const uint32_t *extra_bins;
    const float *extra_weights;
    const float *normalization;  // (n_pixels,) or null for 1
    const double *dark;          // (n_pixels,) or null
    const double *dark_variance; // (n_pixels,) or null
    const uint64_t *active;      // (n_tiles, 8) one bit for each pixel: whether it has entries
    const uint64_t *extended;    // (n_tiles, 8) one bit for each pixel: whether it has extras
    const double *rounding;      // (n_bins + spare_bins, columns()), see `add_exactly`

    // Sums over the pixels that are taken out of the constants: c w, (c w)^2, c, c^2, and c dark, c^2 dark variance.
    int columns() const { return dark || dark_variance ? 8 : 4; }
    int64_t removed_stride() const { return (n_bins + spare_bins) * columns(); }
    int64_t n_pieces() const { return (n_pixels + piece_pixels - 1) / piece_pixels; }
    int64_t first_bin(int64_t tile, int place) const {
        const int64_t i = tile * tile_pixels + place;
        return wide ? static_cast<const uint32_t *>(first)[i] : static_cast<const uint16_t *>(first)[i];
    }
};

// Which values are no measurement. For integers the range is compared as 32-bit numbers modulo 2^32.
struct Screen {
    bool range;            // whether low .. low + span (integers) or dummy +- delta (floats) are invalid
    uint32_t low, span;
    double dummy, delta;
};

struct Frame {
    const uint8_t *data;
    size_t size;
    const double *variance;  // (n_pixels,) or null
};

// What the invalid pixels of a group of frames would have contributed: (n_frames + 1, n_bins + spare_bins, columns), the
// last for pixels that are invalid in all of them; null without any. The memory is got outside the kernels, whose code
// must not instantiate anything that the linker could merge with the same function of another instruction set.
struct Removed {
    int n_frames = 0;
    void *memory = nullptr;
    double *sums = nullptr;
    uint32_t touched = 0;                 // one bit for each of the n_frames + 1
    uint64_t negative[most_lanes] = {};  // contributing pixels below zero
};
void open_removed(Removed &removed, const Plan &plan);

// Scratch memory of one worker, for `most_lanes` frames.
constexpr size_t block_bytes = 8192;
constexpr int enough_entries = 1024;  // invalid pixels that are noted together
struct Scratch {
    alignas(64) uint8_t planes[most_lanes][block_bytes + 64];
    alignas(64) uint8_t values[most_lanes][block_bytes + 64];
    alignas(64) double signal[tile_pixels * most_lanes];
    alignas(64) double variance[tile_pixels * most_lanes];
    // One bit for each pixel of the tile. A row for each frame, and one for pixels that are invalid in all of them.
    alignas(64) uint64_t invalid[most_lanes + 1][tile_words];
    uint64_t entries[enough_entries + tile_pixels * most_lanes + 8];  // invalid pixels of several tiles
    int n_entries;
};

// Up to `lanes` frames, and the pieces of them to be summed. Sums are laid out (bin, signal | variance, lane).
struct Work {
    const Plan *plan;
    Codec codec;
    ElementType type;
    ErrorModel model;
    Screen screen;
    int n_frames, lanes;
    const Frame *frames;
    const double *mean;  // S/N of each bin and lane, for the azimuthal model
    Removed *removed;
    int64_t piece_begin, piece_end;
    double *piece;  // sums of one piece: zero before and after, unless it is the same as `sums`
    double *sums;
    Scratch *scratch;
    const char *problem;  // what is wrong with frame `failed`, or null
    int failed;
};

// Number of sums for each bin and frame.
inline int n_sums(ErrorModel model) { return model == ErrorModel::none ? 1 : 2; }

// The functions compiled for one instruction set.
struct Kernels {
    void (*scatter)(Work &);
    // Decode one whole frame of n elements; null, or what is wrong.
    const char *(*decode_bslz4)(const uint8_t *in, size_t size, int element_size, size_t n, uint8_t *out, uint8_t *scratch);
    const char *(*decode_byte_offset)(const uint8_t *in, size_t size, int element_size, size_t n, uint8_t *out);
    int most_lanes;
};
extern const Kernels kernels_baseline, kernels_avx2, kernels_avx512;
const Kernels &kernels();
}  // namespace friedel
