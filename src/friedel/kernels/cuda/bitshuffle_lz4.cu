// CUDA twin of native/lz4.hpp and native/bitshuffle.hpp: HDF5 chunks of filter 32008 with LZ4, one frame a chunk.
//
// One warp decodes one block (8192 bytes in files of detectors). It copies the coded bytes to the end of a buffer in
// shared memory and decodes them in place towards its beginning, all lanes copying; then each lane joins the bit planes
// of eight elements at a time and writes these to the frame. Where blocks begin was found on the way through the
// host (native/gather.cpp), which also checked that they lie inside the chunk. Whatever the bytes are, nothing outside
// the buffer and the frame is touched: a block that is not LZ4 of the right size sets the frame's error flag.
//
// Macro: SIZE, bytes of an element (1, 2, 4 or 8).
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define ALL_LANES 0xffffffffu

__device__ __forceinline__ u8 *dynamic_memory() {
#ifdef FRIEDEL_EMULATED
    return reinterpret_cast<u8 *>(emulation::dynamic_shared());
#else
    extern __shared__ uint4 dynamic_words[];
    return reinterpret_cast<u8 *>(dynamic_words);
#endif
}

// Add the extension bytes of a length: bytes of 255 and a last smaller one. False if the input ends before.
__device__ __forceinline__ bool extend(const u8 *buffer, u32 lane, u32 &in, u32 in_end, u32 &length) {
    u32 ends;
    do {
        const u32 at = in + lane;
        ends = __ballot_sync(ALL_LANES, at >= in_end || buffer[at] != 255);
        const u32 run = ends ? __ffs(ends) - 1 : 32;
        length += 255 * run;
        in += run;
    } while (!ends);
    if (in >= in_end) return false;
    length += buffer[in++];
    return true;
}

// Copy to a lower place of the same buffer (or the same place). Four loads in flight hide their latency.
__device__ __forceinline__ void copy_down(u8 *buffer, u32 lane, u32 to, u32 from, u32 length) {
    for (u32 start = lane; start < length + lane; start += 128) {
        u8 kept[4];
#pragma unroll
        for (u32 k = 0; k < 4; ++k)
            if (start + 32 * k < length) kept[k] = buffer[from + start + 32 * k];
        __syncwarp();
#pragma unroll
        for (u32 k = 0; k < 4; ++k)
            if (start + 32 * k < length) buffer[to + start + 32 * k] = kept[k];
    }
    __syncwarp();
}

// Copy what lies `offset` bytes before, again and again if that is less than `length`. Only bytes before `to` are read.
__device__ __forceinline__ void copy_match(u8 *buffer, u32 lane, u32 to, u32 offset, u32 length) {
    const u8 *const from = buffer + to - offset;
    __syncwarp();  // what follows may overwrite the coded bytes that said so
    if (offset <= 4 && offset != 3 && length >= 32) {
        // Long runs, the zeros of the planes that counts do not reach above all: whole words of a repeated pattern.
        u32 pattern = 0;
#pragma unroll
        for (u32 k = 0; k < 4; ++k) pattern |= (u32)from[k & (offset - 1)] << (8 * k);
        const u32 head = (0 - to) & 3, words = (length - head) / 4, tail = head + 4 * words;
        if (lane < head) buffer[to + lane] = (u8)(pattern >> (8 * lane));
        const u32 turned = __funnelshift_r(pattern, pattern, 8 * head);
        u32 *const aligned = reinterpret_cast<u32 *>(buffer + to + head);
        for (u32 i = lane; i < words; i += 32) aligned[i] = turned;
        if (lane < length - tail) buffer[to + tail + lane] = (u8)(turned >> (8 * lane));
    } else if (offset >= length) {
        for (u32 i = lane; i < length; i += 32) buffer[to + i] = from[i];
    } else {
        const u32 step = 32 % offset;
        u32 place = lane % offset;
        for (u32 i = lane; i < length; i += 32) {
            buffer[to + i] = from[place];
            place += step;
            if (place >= offset) place -= offset;
        }
    }
    __syncwarp();
}

// Decode the LZ4 block buffer[in, in_end) to buffer[0, size). Any valid block of that size can be decoded in place if it
// ends size/255 + 16 bytes behind the output, because no rest of it is longer than what it decodes to by more than that:
// one that would overwrite what it has not read yet is corrupt.
__device__ bool decode_in_place(u8 *buffer, u32 lane, u32 in, u32 in_end, u32 size) {
    u32 out = 0;
    while (in < in_end) {
        const u32 token = buffer[in++];
        u32 literals = token >> 4;
        if (literals == 15 && !extend(buffer, lane, in, in_end, literals)) return false;
        if (literals > in_end - in || literals > size - out || out > in) return false;
        copy_down(buffer, lane, out, in, literals);
        in += literals;
        out += literals;
        if (in == in_end) return out == size;

        if (in_end - in < 2) return false;
        const u32 offset = buffer[in] | (u32)buffer[in + 1] << 8;
        in += 2;
        u32 length = token & 15;
        if (length == 15 && !extend(buffer, lane, in, in_end, length)) return false;
        length += 4;
        if (offset == 0 || offset > out || length > size - out || out + length > in) return false;
        copy_match(buffer, lane, out, offset, length);
        out += length;
    }
    return false;
}

// Transpose 8 x 8 bits: bit c of byte r becomes bit r of byte c.
__device__ __forceinline__ u64 transpose_bits(u64 x) {
    u64 t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAull;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCull;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0ull;
    return x ^ t ^ (t << 28);
}

// The words of eight elements, of which bytes[k] holds the bytes k.
__device__ __forceinline__ void join_bytes(const u64 *bytes, u32 *words) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        u32 byte[SIZE];
#pragma unroll
        for (int k = 0; k < SIZE; ++k) byte[k] = (u32)(bytes[k] >> (32 * half));
        u32 *const out = words + half * SIZE;
        if constexpr (SIZE == 1) {
            out[0] = byte[0];
        } else if constexpr (SIZE == 2) {
            out[0] = __byte_perm(byte[0], byte[1], 0x5140);
            out[1] = __byte_perm(byte[0], byte[1], 0x7362);
        } else {
#pragma unroll
            for (int part = 0; part < SIZE / 4; ++part) {
                const u32 *const four = byte + 4 * part;
#pragma unroll
                for (int pair = 0; pair < 2; ++pair) {
                    const u32 low = __byte_perm(four[0], four[1], pair ? 0x7362 : 0x5140);
                    const u32 high = __byte_perm(four[2], four[3], pair ? 0x7362 : 0x5140);
                    out[(2 * pair) * (SIZE / 4) + part] = __byte_perm(low, high, 0x5410);
                    out[(2 * pair + 1) * (SIZE / 4) + part] = __byte_perm(low, high, 0x7632);
                }
            }
        }
    }
}

// Undo bitshuffle of `count` elements (a multiple of 8) and write them to the frame.
__device__ void unshuffle(const u8 *planes, u32 lane, u32 count, u8 *out) {
    const u32 plane = count / 8;
    const bool aligned = (reinterpret_cast<u64>(out) & (SIZE == 1 ? 7 : 15)) == 0;
    for (u32 group = lane; group < plane; group += 32) {
        u64 bytes[SIZE];
        u32 words[2 * SIZE];
#pragma unroll
        for (int k = 0; k < SIZE; ++k) {
            u32 low = 0, high = 0;
#pragma unroll
            for (int b = 0; b < 4; ++b) {
                low |= (u32)planes[(8 * k + b) * plane + group] << (8 * b);
                high |= (u32)planes[(8 * k + 4 + b) * plane + group] << (8 * b);
            }
            bytes[k] = (u64)high << 32 | low;
            if (bytes[k]) bytes[k] = transpose_bits(bytes[k]);
        }
        join_bytes(bytes, words);
        u8 *const to = out + (u64)group * 8 * SIZE;
        if (!aligned) {
            for (int i = 0; i < 8 * SIZE; ++i) to[i] = (u8)(words[i / 4] >> (8 * (i % 4)));
        } else if constexpr (SIZE == 1) {
            *reinterpret_cast<uint2 *>(to) = make_uint2(words[0], words[1]);
        } else {
#pragma unroll
            for (int i = 0; i < SIZE / 2; ++i)
                reinterpret_cast<uint4 *>(to)[i] =
                    make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
        }
    }
}

// Decode block blockIdx.x * warps + warp of frame blockIdx.y.
//   chunks      coded frames; each may be read in whole 16 bytes, also where it begins or ends inside of them
//   starts      where each frame's chunk begins in them
//   tables      for each frame (a row of `pitch`) where the length of each block lies in its chunk, then the plain rest
//   blocks      elements in a whole block of each frame; 0 for a frame that is not to be decoded
//   n           elements of a frame
//   room        bytes of shared memory for a warp: size + size/255 + 48 of the largest block, in whole 16 bytes
//   errors      set to 1 for a frame with a corrupt block
extern "C" __global__ void decode_bslz4(const u8 *chunks, const u64 *starts, const u32 *tables, const u32 *blocks, u32 pitch,
                                        u64 n, u32 room, u8 *frames, u32 *errors) {
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, frame = blockIdx.y;
    const u32 number = blockIdx.x * (blockDim.x / 32) + warp, block = blocks[frame];
    const u64 start = (u64)number * block;
    if (block == 0) return;
    const u8 *const chunk = chunks + starts[frame];
    const u32 *const table = tables + (u64)frame * pitch;
    u8 *const out = frames + (u64)frame * n * SIZE;
    if (number == 0) {
        // Less than eight elements at the end are stored as they are.
        const u32 rest = (u32)(n % 8) * SIZE;
        const u8 *const plain = chunk + table[(n / 8 * 8 + block - 1) / block];
        for (u32 i = lane; i < rest; i += 32) out[(n / 8 * 8) * SIZE + i] = plain[i];
    }
    if (start + 8 > n) return;
    const u32 count = n - start < block ? (u32)((n - start) / 8 * 8) : block, size = count * SIZE;
    const u8 *const coded = chunk + table[number] + 4;
    const u32 coded_size = table[number + 1] - table[number] - 4;

    u8 *const buffer = dynamic_memory() + (u64)warp * room;
    const u32 before = reinterpret_cast<u64>(coded) & 15, vectors = (before + coded_size + 15) / 16;
    bool valid = coded_size <= size + size / 255 + 16 && 16 * vectors <= room;
    if (valid) {
        const uint4 *const from = reinterpret_cast<const uint4 *>(coded - before);
        uint4 *const to = reinterpret_cast<uint4 *>(buffer + room - 16 * vectors);
        for (u32 i = lane; i < vectors; i += 32) to[i] = from[i];
        __syncwarp();
        const u32 in = room - 16 * vectors + before;
        valid = decode_in_place(buffer, lane, in, in + coded_size, size);
    }
    if (valid)
        unshuffle(buffer, lane, count, out + start * SIZE);
    else if (lane == 0)
        errors[frame] = 1;
}
