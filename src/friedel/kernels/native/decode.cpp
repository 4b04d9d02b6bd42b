#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "bindings.hpp"
#include "decode_frames.hpp"
#include "instruction_set.hpp"
#include "parallel.hpp"
#include "scatter_plan.hpp"

namespace nb = nanobind;

namespace friedel {
using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableBytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableFrames = nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

const Kernels &kernels() {
#if defined(__x86_64__)
    switch (instruction_set()) {
        case InstructionSet::avx512: return kernels_avx512;
        case InstructionSet::avx2: return kernels_avx2;
        default: break;
    }
#endif
    return kernels_baseline;
}

// Bytes of one whole block, as the chunk's header says, but no more than the frame has.
static size_t block_size(const uint8_t *chunk, size_t size, size_t frame_bytes) {
    const size_t bytes = size < 12 ? 0 : big_endian(chunk + 8, 4);
    return bytes < frame_bytes ? bytes : frame_bytes;
}

// One message for each frame, empty if it was decoded.
static std::vector<std::string> decode_frames(int codec, const std::vector<Bytes> &buffers, int element_size,
                                              WritableFrames frames, int threads) {
    if (buffers.size() != frames.shape(0)) throw nb::value_error("as many buffers as frames are needed");
    std::vector<std::string> problems(buffers.size());
    const size_t frame_bytes = frames.shape(1), n = frame_bytes / element_size;
    uint8_t *const out = frames.data();
    nb::gil_scoped_release release;
    parallel_for(buffers.size(), threads, [&](std::size_t f) {
        const uint8_t *in = buffers[f].data();
        const size_t size = buffers[f].size();
        const char *problem;
        if (static_cast<Codec>(codec) == Codec::bslz4) {
            std::unique_ptr<uint8_t[]> scratch(new uint8_t[block_size(in, size, frame_bytes) + lz4_slack]);
            problem = kernels().decode_bslz4(in, size, element_size, n, out + f * frame_bytes, scratch.get());
        } else {
            problem = kernels().decode_byte_offset(in, size, element_size, n, out + f * frame_bytes);
        }
        if (problem) problems[f] = problem;
    });
    return problems;
}

static size_t encode_bslz4(Bytes array, int element_size, size_t block, WritableBytes out) {
    const size_t n = array.size() / element_size;
    uint8_t *to = out.data();
    nb::gil_scoped_release release;
    const auto put = [&](uint64_t value, int bytes) {
        for (int i = bytes - 1; i >= 0; --i) *to++ = static_cast<uint8_t>(value >> (8 * i));
    };
    put(array.size(), 8);
    put(block * element_size, 4);
    std::unique_ptr<uint8_t[]> planes(new uint8_t[block * element_size]);
    for (size_t start = 0; start + 8 <= n;) {
        const size_t count = n - start < block ? (n - start) / 8 * 8 : block;
        shuffle(array.data() + start * element_size, count, element_size, planes.get());
        const size_t size = lz4_encode(planes.get(), count * element_size, to + 4);
        put(size, 4);
        to += size;
        start += count;
    }
    const size_t rest = n % 8 * element_size;
    std::memcpy(to, array.data() + array.size() - rest, rest);
    return static_cast<size_t>(to + rest - out.data());
}

static size_t encode_byte_offset(nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> values,
                                 WritableBytes out) {
    if (out.size() < 15 * values.size()) throw nb::value_error("15 bytes a value are needed");
    nb::gil_scoped_release release;
    return byte_offset_encode(values.data(), values.size(), out.data());
}

static bool decode_lz4(Bytes block, WritableBytes out) {
    std::unique_ptr<uint8_t[]> whole(new uint8_t[out.size() + lz4_slack]);
    const bool complete = lz4_decode(block.data(), block.size(), whole.get(), out.size());
    if (complete) std::memcpy(out.data(), whole.get(), out.size());
    return complete;
}

static size_t encode_lz4(Bytes block, WritableBytes out) {
    if (out.size() < lz4_bound(block.size())) throw nb::value_error("the output is too small");
    return lz4_encode(block.data(), block.size(), out.data());
}

void bind_decode(nb::module_ &m) {
    m.def("decode_frames", &decode_frames, nb::arg("codec"), nb::arg("buffers"), nb::arg("element_size"), nb::arg("frames"),
          nb::arg("threads"), "Decode each buffer into a row of `frames` (bytes); return a message for each, '' if well.");
    m.def("encode_bslz4", &encode_bslz4, nb::arg("array"), nb::arg("element_size"), nb::arg("block"), nb::arg("out"));
    m.def("encode_byte_offset", &encode_byte_offset, nb::arg("values"), nb::arg("out"));
    m.def("decode_lz4", &decode_lz4, nb::arg("block"), nb::arg("out"), "Decode one LZ4 block; whether it was one.");
    m.def("encode_lz4", &encode_lz4, nb::arg("block"), nb::arg("out"), "Encode one LZ4 block; return its size.");
}
}  // namespace friedel
