// CUDA twin of native/lz4.hpp and native/bitshuffle.hpp: HDF5 chunks of filter 32008 with LZ4, one frame a chunk.
//
// One warp decodes one block (8192 bytes in files of detectors). It copies the coded bytes to the end of a buffer in
// shared memory and decodes them in place towards its beginning, all lanes copying; then each lane joins the bit planes
// of eight elements at a time and writes these to the frame. Before that, `find_blocks` has found where the blocks begin,
// and that they lie inside the chunk. Whatever the bytes are, nothing outside the buffer and the frame is touched: a
// chunk that ends too early, or a block that is not LZ4 of the right size, sets the frame's error flag.
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

// Copy to a lower place of the same buffer, or to one that does not overlap. Four loads in flight hide their latency.
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

// Whether the `offset` bytes before `to` are all the same. The zeros of the planes that counts do not reach are repeated
// from wherever the encoder last met some.
__device__ __forceinline__ bool is_uniform(const u8 *buffer, u32 lane, u32 to, u32 offset) {
    const u8 value = buffer[to - 1];
    bool same = true;
    for (u32 i = lane; i < offset; i += 32) same &= buffer[to - offset + i] == value;
    return __all_sync(ALL_LANES, same);
}

// Repeat the byte before, `least_fill` times or more.
constexpr u32 least_fill = 32;

__device__ __forceinline__ void fill(u8 *buffer, u32 lane, u32 to, u32 length) {
    const u8 value = buffer[to - 1];
    const u32 head = (0 - to) & 15, vectors = (length - head) / 16, tail = head + 16 * vectors;
    const u32 word = value * 0x01010101u;
    const uint4 vector = make_uint4(word, word, word, word);
    __syncwarp();  // what follows may overwrite the coded bytes that said so
    if (lane < head) buffer[to + lane] = value;
    uint4 *const aligned = reinterpret_cast<uint4 *>(buffer + to + head);
    for (u32 i = lane; i < vectors; i += 32) aligned[i] = vector;
    if (lane < length - tail) buffer[to + tail + lane] = value;
    __syncwarp();
}

// Sequences up to this length are copied in one go, longer ones by parts, in larger steps.
constexpr u32 long_sequence = 96;

// a modulo b, for numbers below 2^16: the quotient of floats is never off by one there.
__device__ __forceinline__ u32 modulo(u32 a, u32 b) { return a - b * (u32)__fdividef((float)a + 0.5f, (float)b); }

// Copy the literals of a sequence, and behind them the match `offset` bytes before its own place, which may reach into
// the literals and into itself. Lanes take 32 bytes at a time; each finds the byte that its own repeats before `to`, or
// in the literals where these lie in the input.
__device__ __forceinline__ void copy_sequence(u8 *buffer, u32 lane, u32 to, u32 from, u32 literals, u32 offset, u32 length) {
    const u32 total = literals + length;
    const bool repeats = offset < length;
    for (u32 done = 0; done < total; done += 32) {
        const u32 i = done + lane;
        u8 byte = 0;
        if (i < literals) {
            byte = buffer[from + i];
        } else if (i < total) {
            u32 place = i - literals;
            if (repeats) place = modulo(place, offset);
            place = to + literals - offset + place;
            // Literals of this very step are not in their place yet; those of earlier ones are, and may be lost in the input.
            byte = buffer[place >= to + done ? place - to + from : place];
        }
        __syncwarp();
        if (i < total) buffer[to + i] = byte;
        __syncwarp();
    }
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
        u32 from = in;
        in += literals;
        if (in == in_end) {
            copy_down(buffer, lane, out, from, literals);
            return out + literals == size;
        }
        if (in_end - in < 2) return false;
        const u32 offset = buffer[in] | (u32)buffer[in + 1] << 8;
        in += 2;
        u32 length = token & 15;
        if (length == 15 && !extend(buffer, lane, in, in_end, length)) return false;
        length += 4;
        const u32 before = out + literals;
        if (offset == 0 || offset > before || length > size - before || before + length > in) return false;
        if (literals + length <= long_sequence) {
            copy_sequence(buffer, lane, out, from, literals, offset, length);
        } else {
            copy_down(buffer, lane, out, from, literals);
            if (offset >= length)
                copy_down(buffer, lane, before, before - offset, length);
            else if (length >= least_fill && is_uniform(buffer, lane, before, offset))
                fill(buffer, lane, before, length);
            else
                copy_sequence(buffer, lane, before, before, 0, offset, length);
        }
        out = before + length;
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

// Write `words` to the frame, whose place may be aligned to bytes only.
template <int WORDS>
__device__ __forceinline__ void store_words(u8 *to, const u32 *words, bool aligned) {
    if (!aligned) {
        for (int i = 0; i < 4 * WORDS; ++i) to[i] = (u8)(words[i / 4] >> (8 * (i % 4)));
    } else if constexpr (WORDS % 4 == 0) {
#pragma unroll
        for (int i = 0; i < WORDS; i += 4)
            *reinterpret_cast<uint4 *>(to + 4 * i) = make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]);
    } else {
#pragma unroll
        for (int i = 0; i < WORDS; i += 2) *reinterpret_cast<uint2 *>(to + 4 * i) = make_uint2(words[i], words[i + 1]);
    }
}

// Exchange the bits of `a` that `mask` marks with those of `b` that lie `by` higher.
__device__ __forceinline__ void exchange_bits(u32 &a, u32 &b, u32 by, u32 mask) {
    const u32 t = ((a >> by) ^ b) & mask;
    b ^= t;
    a ^= t << by;
}

// Transpose 4 x 4 bytes: byte c of word r becomes byte r of word c.
__device__ __forceinline__ void transpose_bytes(u32 &a, u32 &b, u32 &c, u32 &d) {
    const u32 low_ab = __byte_perm(a, b, 0x5140), high_ab = __byte_perm(a, b, 0x7362);
    const u32 low_cd = __byte_perm(c, d, 0x5140), high_cd = __byte_perm(c, d, 0x7362);
    a = __byte_perm(low_ab, low_cd, 0x5410);
    b = __byte_perm(low_ab, low_cd, 0x7632);
    c = __byte_perm(high_ab, high_cd, 0x5410);
    d = __byte_perm(high_ab, high_cd, 0x7632);
}

// Join byte k of 32 elements from a word of each of its 8 planes. Byte g of word e is that of element 8 g + e then.
__device__ __forceinline__ void join_planes(u32 *w) {
    // Where no lane has a bit, as in the planes above the counts, there is nothing to exchange.
    if ((w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7]) == 0) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) exchange_bits(w[i], w[i + 4], 4, 0x0f0f0f0fu);
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
        exchange_bits(w[i], w[i + 2], 2, 0x33333333u);
        exchange_bits(w[i + 1], w[i + 3], 2, 0x33333333u);
    }
#pragma unroll
    for (int i = 0; i < 8; i += 2) exchange_bits(w[i], w[i + 1], 1, 0x55555555u);
}

// Undo bitshuffle of 1024 elements at a time, 32 for each lane, which are 128 bytes of each plane. The lanes leave what they
// made in the places of the planes they have read, as many bytes: from there the warp writes whole lines of the frame.
// Writes of single lanes, 128 bytes apart, take four times as long. Words change places within 128 bytes, so that neither
// side meets conflicts of banks.
constexpr u32 lane_words = 8 * SIZE;

__device__ __forceinline__ u32 *parked(u8 *planes, u32 plane, u32 at, u32 word) {
    const u32 owner = word / lane_words, of_lane = word % lane_words;
    if constexpr (SIZE == 8) {
        const u32 piece = 2 * owner + of_lane / 32, slot = (of_lane % 32) ^ owner;
        return reinterpret_cast<u32 *>(planes + piece * plane + at) + slot;
    } else {
        constexpr u32 sharing = lane_words < 32 ? 32 / lane_words : 1;  // lanes for each 128 bytes
        const u32 piece = owner / sharing, slot = (owner % sharing * lane_words + of_lane) ^ piece;
        return reinterpret_cast<u32 *>(planes + piece * plane + at) + slot;
    }
}

// In w[k], word e holds bytes k of elements e, 8 + e, 16 + e, 24 + e. Make `words` of the elements in their order.
__device__ __forceinline__ void order_words(u32 (&w)[SIZE][8], u32 (&words)[lane_words]) {
    if constexpr (SIZE == 1) {
        transpose_bytes(w[0][0], w[0][1], w[0][2], w[0][3]);
        transpose_bytes(w[0][4], w[0][5], w[0][6], w[0][7]);
#pragma unroll
        for (int g = 0; g < 4; ++g) {
            words[2 * g] = w[0][g];
            words[2 * g + 1] = w[0][4 + g];
        }
    } else if constexpr (SIZE == 2) {
#pragma unroll
        for (int e = 0; e < 8; e += 2) {
            u32 a = w[0][e], b = w[1][e], c = w[0][e + 1], d = w[1][e + 1];
            transpose_bytes(a, b, c, d);
            words[e / 2] = a;
            words[4 + e / 2] = b;
            words[8 + e / 2] = c;
            words[12 + e / 2] = d;
        }
    } else {
#pragma unroll
        for (int part = 0; part < SIZE / 4; ++part)
#pragma unroll
            for (int e = 0; e < 8; ++e) {
                u32 *const first = &w[4 * part][0];
                transpose_bytes(first[e], first[8 + e], first[16 + e], first[24 + e]);
#pragma unroll
                for (int g = 0; g < 4; ++g) words[(8 * g + e) * (SIZE / 4) + part] = first[8 * g + e];
            }
    }
}

__device__ void unshuffle_lines(u8 *planes, u32 lane, u32 count, u8 *out, bool aligned) {
    const u32 plane = count / 8;
    for (u32 at = 0; at < plane; at += 128) {
        u32 w[SIZE][8], words[lane_words];
#pragma unroll
        for (int k = 0; k < SIZE; ++k) {
#pragma unroll
            for (int b = 0; b < 8; ++b) w[k][b] = reinterpret_cast<const u32 *>(planes + (8 * k + b) * plane + at)[lane];
            join_planes(w[k]);
        }
        order_words(w, words);
        __syncwarp();
#pragma unroll
        for (u32 i = 0; i < lane_words; ++i) *parked(planes, plane, at, lane * lane_words + i) = words[i];
        __syncwarp();
        u8 *const to = out + (u64)at * 8 * SIZE;
#pragma unroll
        for (u32 round = 0; round < lane_words / 4; ++round) {
            const u32 first = 4 * (32 * round + lane);
            u32 four[4];
#pragma unroll
            for (u32 i = 0; i < 4; ++i) four[i] = *parked(planes, plane, at, first + i);
            store_words<4>(to + 4 * first, four, aligned);
        }
    }
}

// Undo bitshuffle of 8 elements for each lane at a time: blocks at the end of a frame may be of any multiple of 8.
__device__ void unshuffle_bytes(const u8 *planes, u32 lane, u32 count, u8 *out, bool aligned) {
    const u32 plane = count / 8;
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
            bytes[k] = transpose_bits((u64)high << 32 | low);
        }
        join_bytes(bytes, words);
        store_words<2 * SIZE>(out + (u64)group * 8 * SIZE, words, aligned);
    }
}

// Undo bitshuffle of `count` elements (a multiple of 8) and write them to the frame.
__device__ __forceinline__ void unshuffle(u8 *planes, u32 lane, u32 count, u8 *out) {
    const bool aligned = (reinterpret_cast<u64>(out) & 15) == 0;
    if (count % 1024 == 0)
        unshuffle_lines(planes, lane, count, out, aligned);
    else
        unshuffle_bytes(planes, lane, count, out, aligned);
}

// Each length says where the next one lies: thousands of steps for a frame, each as long as it takes to read. So the chunk
// comes to shared memory by windows, all threads reading, and is walked there.
constexpr u32 window_bytes = 16384;

// The number of four bytes, the highest first, at any place of shared memory.
__device__ __forceinline__ u32 big_endian(const u32 *words, u32 at) {
    return __byte_perm(__funnelshift_r(words[at / 4], words[(at + 3) / 4], 8 * (at % 4)), 0, 0x0123);
}

// Find the blocks of frame blockIdx.x.
//   chunks, starts, n, tables, pitch, blocks, errors    as below, but chunks start at multiples of 16 bytes; `tables` is
//               written. A chunk that ends before its blocks and the plain rest do gets an error, and 0 in `blocks`
//   sizes       bytes of each chunk
extern "C" __global__ void __launch_bounds__(128)
    find_blocks(const u8 *chunks, const u64 *starts, const u64 *sizes, u32 pitch, u64 n, u32 *blocks, u32 *tables, u32 *errors) {
    __shared__ uint4 window[window_bytes / 16];
    const u32 frame = blockIdx.x, block = blocks[frame], size = (u32)sizes[frame];
    if (block == 0) return;
    const u8 *const chunk = chunks + starts[frame];
    u32 *const table = tables + (u64)frame * pitch;
    const u32 count = (u32)((n / 8 * 8 + block - 1) / block);
    u32 at = 12, number = 0;  // behind the header
    bool inside = true;
    while (inside && number < count) {
        const u32 first = at / 16 * 16, held = min(size - first, window_bytes);
        const uint4 *const from = reinterpret_cast<const uint4 *>(chunk + first);
        for (u32 i = threadIdx.x; 16 * i < held; i += blockDim.x) window[i] = from[i];
        __syncthreads();
        while (inside && number < count && at + 4 <= first + held) {
            const u32 length = big_endian(reinterpret_cast<const u32 *>(window), at - first);
            inside = length <= size - at - 4;
            if (threadIdx.x == 0) table[number] = at;
            if (inside) at += 4 + length, ++number;
        }
        inside &= number == count || at + 4 <= size;
        __syncthreads();
    }
    if (threadIdx.x != 0) return;
    inside &= (u32)(n % 8) * SIZE <= size - at;
    if (inside) {
        table[count] = at;
    } else {
        blocks[frame] = 0;
        errors[frame] = 1;
    }
}

// Decode block blockIdx.x * warps + warp of frame blockIdx.y.
//   chunks      coded frames; each may be read in whole 16 bytes, also where it begins or ends inside of them
//   starts      where each frame's chunk begins in them
//   tables      for each frame (a row of `pitch`) where the length of each block lies in its chunk, then the plain rest
//   blocks      elements in a whole block of each frame; 0 for a frame that is not to be decoded
//   n           elements of a frame
//   room        bytes of shared memory for a warp: size + size/255 + 48 of the largest block, in whole 128 bytes
//   errors      set to 1 for a frame with a corrupt block
extern "C" __global__ void __launch_bounds__(128, SIZE == 8 ? 3 : 6)
    decode_bslz4(const u8 *chunks, const u64 *starts, const u32 *tables, const u32 *blocks, u32 pitch, u64 n, u32 room,
                 u8 *frames, u32 *errors) {
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
