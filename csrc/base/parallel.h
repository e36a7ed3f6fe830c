// A small pool of persistent threads. Work is cut into numbered chunks by the caller, never by the number of threads:
// a kernel whose chunks write disjoint outputs therefore gives the same bits for any number of threads.
#pragma once

#include <cstdint>

namespace densefield {

using ChunkTask = void (*)(void* context, int64_t chunk, int slot);

// Calls task(context, chunk, slot) once for each chunk in [0, chunks) on up to `n_threads` threads, the caller's among
// them. `slot` in [0, n_threads) names the thread, for scratch memory. The first exception is rethrown here after all
// threads have stopped. A call from inside a task, or while another thread holds the pool, runs on the caller alone.
// `ordered`: chunks are begun in their order. At most 2^32 chunks.
void run_chunks(int64_t chunks, int n_threads, ChunkTask task, void* context, bool ordered);

// What chunks tell each other: number i is set once, and whoever waits for it then sees what was written before.
class Signals {
public:
    explicit Signals(int64_t count);
    ~Signals();
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;
    void set(int64_t i);
    void wait_for(int64_t i) const;

private:
    void* const flags_;
};

// Unnamed, so that a copy compiled for AVX-512 is never linked into the baseline path.
namespace {

template <class Body>  // void body(int64_t chunk, int slot)
inline void parallel_for(int64_t chunks, int n_threads, const Body& body, bool ordered = false) {
    run_chunks(
        chunks, n_threads,
        [](void* context, int64_t chunk, int slot) { (*static_cast<const Body*>(context))(chunk, slot); },
        const_cast<Body*>(&body), ordered);
}

// The same for `count` numbers in ranges of `size`.
template <class Body>  // void body(int64_t begin, int64_t end, int64_t chunk)
inline void parallel_ranges(int64_t count, int64_t size, int n_threads, const Body& body) {
    parallel_for((count + size - 1) / size, n_threads, [&](int64_t chunk, int) {
        body(chunk * size, (chunk + 1) * size < count ? (chunk + 1) * size : count, chunk);
    });
}

}  // namespace
}  // namespace densefield
