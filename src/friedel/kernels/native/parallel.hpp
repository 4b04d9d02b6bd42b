// One way to use several threads: items are handed out by number, in any order; each item's result must
// depend on its number alone, so that results are the same for every thread count.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace friedel {
template <class Function>
void parallel_for(std::size_t count, int threads, Function &&function) {
    if (threads <= 1 || count <= 1) {
        for (std::size_t i = 0; i < count; ++i) function(i);
        return;
    }
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_lock;
    auto work = [&] {
        try {
            for (std::size_t i; (i = next.fetch_add(1)) < count;) function(i);
        } catch (...) {
            std::lock_guard guard(failure_lock);
            if (!failure) failure = std::current_exception();
            next = count;
        }
    };
    std::vector<std::thread> pool;
    const std::size_t additional = std::min<std::size_t>(threads, count) - 1;
    pool.reserve(additional);
    try {
        while (pool.size() < additional) pool.emplace_back(work);
    } catch (const std::exception &) {
        // The system gives no more threads, or no memory for them: those that exist do the work.
    }
    work();
    for (auto &thread : pool) thread.join();
    if (failure) std::rethrow_exception(failure);
}
}  // namespace friedel
