// Enough of CUDA to run a kernel on a processor, one block after another: each thread of a block is a fibre that goes
// on until it waits for others. It shows whether a kernel computes what it should, not whether it races.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __restrict__
#define __align__(n) alignas(n)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

using std::max;
using std::min;
inline long long min(int a, long long b) { return std::min<long long>(a, b); }
inline long long min(long long a, int b) { return std::min<long long>(a, b); }
inline unsigned min(unsigned a, int b) { return std::min<unsigned>(a, b); }

namespace emulation {

constexpr std::size_t stack_bytes = 64 * 1024;

enum class State { ready, at_warp_barrier, at_block_barrier, at_place, done };

struct Fibre {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state = State::ready;
};

inline std::vector<Fibre> fibres;
inline ucontext_t scheduler;
inline int current = 0;
inline std::vector<uint64_t> exchanged;
inline std::vector<char> dynamic_memory;

inline void wait(State state) {
    fibres[current].state = state;
    swapcontext(&fibres[current].context, &scheduler);
}
inline void wait_for_warp() { wait(State::at_warp_barrier); }

// Places where some of the threads of a block meet (PTX bar.sync, bar.arrive).
struct Place {
    int arrived = 0;
    std::vector<int> waiting;
};
inline Place places[16];
inline void arrive(int place, int threads) {
    Place &here = places[place];
    if (++here.arrived < threads) return;
    for (int thread : here.waiting) fibres[thread].state = State::ready;
    here = {};
}
inline void meet(int place, int threads) {
    places[place].waiting.push_back(current);
    fibres[current].state = State::at_place;
    arrive(place, threads);
    if (fibres[current].state == State::at_place) wait(State::at_place);
}

}  // namespace emulation

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

inline void __syncthreads() { emulation::wait(emulation::State::at_block_barrier); }
inline void __syncwarp(unsigned = 0xffffffffu) { emulation::wait_for_warp(); }
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
T exchange(T value, int source_lane) {
    static_assert(sizeof(T) <= 8);
    using namespace emulation;
    const int me = current, warp = me & ~31;
    exchanged[me] = 0;
    std::memcpy(&exchanged[me], &value, sizeof(T));
    wait_for_warp();
    T got = value;
    const int source = warp + source_lane;
    if (source < int(fibres.size())) std::memcpy(&got, &exchanged[source], sizeof(T));
    wait_for_warp();
    return got;
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return exchange(value, (emulation::current & 31) ^ mask);
}
template <class T>
T __shfl_sync(unsigned, T value, int lane) {
    return exchange(value, lane & 31);
}
template <class T>
T __shfl_down_sync(unsigned, T value, int distance) {
    const int lane = emulation::current & 31;
    return exchange(value, lane + distance < 32 ? lane + distance : lane);
}
template <class T>
T __shfl_up_sync(unsigned, T value, int distance) {
    const int lane = emulation::current & 31;
    return exchange(value, lane >= distance ? lane - distance : lane);
}
inline unsigned __ballot_sync(unsigned, int predicate) {
    using namespace emulation;
    exchanged[current] = predicate != 0;
    wait_for_warp();
    unsigned bits = 0;
    for (int lane = 0, warp = current & ~31; lane < 32 && warp + lane < int(fibres.size()); ++lane)
        bits |= unsigned(exchanged[warp + lane]) << lane;
    wait_for_warp();
    return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return !__any_sync(mask, !predicate); }
inline int __syncthreads_or(int predicate) {
    using namespace emulation;
    exchanged[current] = predicate != 0;
    __syncthreads();
    int any = 0;
    for (auto value : exchanged) any |= int(value);
    __syncthreads();
    return any;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(unsigned bits) { return __builtin_ffs(int(bits)); }
inline int __clz(unsigned bits) { return bits ? __builtin_clz(bits) : 32; }
inline float __fdividef(float a, float b) { return a / b; }
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
    return unsigned((uint64_t(high) << 32 | low) >> (by & 31));
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned select) {
    const uint64_t both = uint64_t(y) << 32 | x;
    unsigned chosen = 0;
    for (int i = 0; i < 4; ++i) chosen |= unsigned(both >> (8 * (select >> (4 * i) & 7)) & 255) << (8 * i);
    return chosen;
}
template <class T, class U>
T atomicAdd(T *at, U value) {
    T before = *at;
    *at = T(before + value);
    return before;
}
template <class T, class U>
T atomicOr(T *at, U value) {
    T before = *at;
    *at = T(before | value);
    return before;
}
template <class T>
T __ldg(const T *at) {
    return *at;
}
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }

namespace emulation {

inline std::vector<void *> call_arguments;
inline void (*call)();

inline void fibre_main() {
    call();
    wait(State::done);
}

inline void place(int thread) {
    current = thread;
    threadIdx = {unsigned(thread) % blockDim.x, unsigned(thread) / blockDim.x % blockDim.y, 0};
}

// Lets a group of fibres go on if all that are not done wait at this barrier.
inline bool released(int begin, int end, State barrier) {
    bool any = false;
    for (int thread = begin; thread < end; ++thread) {
        const State state = fibres[thread].state;
        if (state != barrier && state != State::done) return false;
        any |= state == barrier;
    }
    for (int thread = begin; thread < end; ++thread)
        if (fibres[thread].state == barrier) fibres[thread].state = State::ready;
    return any;
}

inline void run_block() {
    for (auto &fibre : fibres) {
        fibre.state = State::ready;
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.get();
        fibre.context.uc_stack.ss_size = stack_bytes;
        fibre.context.uc_link = nullptr;
        makecontext(&fibre.context, fibre_main, 0);
    }
    const int threads = int(fibres.size());
    for (bool any = true; any;) {
        any = false;
        for (int thread = 0; thread < threads; ++thread) {
            if (fibres[thread].state != State::ready) continue;
            any = true;
            place(thread);
            swapcontext(&scheduler, &fibres[thread].context);
        }
        for (int warp = 0; warp < threads; warp += 32) any |= released(warp, min(warp + 32, threads), State::at_warp_barrier);
        any |= released(0, threads, State::at_block_barrier);
    }
    for (auto &place : places)
        if (place.arrived) std::abort();  // some have come to a place where the others never will
    for (const auto &fibre : fibres)
        if (fibre.state != State::done) std::abort();  // threads wait for one another for ever
}

template <auto kernel, class... A, std::size_t... I>
void call_with(void (*)(A...), std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<A> *>(call_arguments[I])...);
}

template <class... A>
constexpr auto indices(void (*)(A...)) {
    return std::index_sequence_for<A...>{};
}

inline char *dynamic_shared() {
    return reinterpret_cast<char *>((reinterpret_cast<std::uintptr_t>(dynamic_memory.data()) + 127) & ~std::uintptr_t(127));
}

template <auto kernel>
void run(const unsigned *grid, const unsigned *block, unsigned dynamic_bytes, void **given, int n_given) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    call_arguments.assign(given, given + n_given);
    call = [] { call_with<kernel>(kernel, indices(kernel)); };
    const unsigned threads = block[0] * block[1] * block[2];
    fibres.clear();
    fibres.resize(threads);
    for (auto &fibre : fibres) fibre.stack = std::make_unique<char[]>(stack_bytes);
    exchanged.assign((threads + 31) / 32 * 32, 0);
    dynamic_memory.assign(dynamic_bytes + 1024, char(0xa5));
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x) {
                blockIdx = {x, y, z};
                run_block();
            }
    for (const char *at = dynamic_shared() + dynamic_bytes; at < dynamic_memory.data() + dynamic_memory.size(); ++at)
        if (*at != char(0xa5)) std::abort();  // wrote behind the shared memory that it was given
}


}  // namespace emulation
