#include "base/memory.h"

#include <cstdlib>
#include <new>

#if defined(_WIN32)
#include <malloc.h>
#elif defined(__linux__)
#include <malloc.h>
#include <sys/mman.h>
#endif

#include "base/guard.h"

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define DF_KEEPS_BLOCKS
#include <atomic>
#endif

namespace densefield {
namespace {

// Large pages, where the system gives them, save most of the cost of first touch and of random access.
constexpr int64_t large_page = int64_t{1} << 21;

#if defined(DF_KEEPS_BLOCKS)
// Large blocks that were released wait here for the next call: to get memory cleared by the system takes a tenth of an
// inference and more. The system may take their pages back (MADV_FREE). Without a lock, which a fork might leave locked.
constexpr int64_t most_kept = int64_t{256} << 20;
std::atomic<void*> kept[32];
std::atomic<int64_t> bytes_kept{0};

int64_t size_of(void* memory) { return static_cast<int64_t>(malloc_usable_size(memory)); }

bool is_large(void* memory) {
    return reinterpret_cast<uintptr_t>(memory) % large_page == 0 && size_of(memory) >= large_page;
}

bool keep(void* memory) {
    const int64_t size = size_of(memory);
    if (bytes_kept.fetch_add(size, std::memory_order_relaxed) + size <= most_kept)
        for (std::atomic<void*>& place : kept) {
            void* none = nullptr;
            if (place.compare_exchange_strong(none, memory)) return true;
        }
    bytes_kept.fetch_sub(size, std::memory_order_relaxed);
    return false;
}

void* take_kept(int64_t bytes) {
    for (std::atomic<void*>& place : kept) {
        void* const memory = place.load(std::memory_order_relaxed) != nullptr ? place.exchange(nullptr) : nullptr;
        if (memory == nullptr) continue;
        const int64_t size = size_of(memory);
        bytes_kept.fetch_sub(size, std::memory_order_relaxed);
        if (size >= bytes && size <= bytes + bytes / 2 + large_page) return memory;
        if (!keep(memory)) std::free(memory);
    }
    return nullptr;
}
#endif

}  // namespace

void* allocate(int64_t bytes) {
    const int64_t line = bytes >= large_page ? large_page : 64;
    if (bytes < 0 || bytes > INT64_MAX - line) throw std::bad_alloc();
    const auto rounded = static_cast<size_t>((bytes + line) / line * line);
#if defined(DF_KEEPS_BLOCKS)
    if (line == large_page)
        if (void* const memory = take_kept(bytes)) return memory;
#endif
#if defined(_WIN32)
    void* const memory = _aligned_malloc(rounded, static_cast<size_t>(line));
#else
    void* const memory = std::aligned_alloc(static_cast<size_t>(line), rounded);
#endif
    if (memory == nullptr) throw std::bad_alloc();
    if (line == large_page) prefer_large_pages(memory, static_cast<int64_t>(rounded));
    return memory;
}

void release(void* memory) {
#if defined(DF_KEEPS_BLOCKS)
    if (memory != nullptr && is_large(memory)) {
        madvise(memory, static_cast<size_t>(size_of(memory)) / large_page * large_page, MADV_FREE);
        if (keep(memory)) return;
    }
#endif
#if defined(_WIN32)
    _aligned_free(memory);
#else
    std::free(memory);
#endif
}

void prefer_large_pages([[maybe_unused]] void* memory, [[maybe_unused]] int64_t bytes) {
#if defined(__linux__)
    const auto begin = (reinterpret_cast<uintptr_t>(memory) + large_page - 1) / large_page * large_page;
    const auto end = (reinterpret_cast<uintptr_t>(memory) + static_cast<uintptr_t>(bytes)) / large_page * large_page;
    if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace densefield

extern "C" int df_memory_take(int64_t bytes, void** memory) {
    return densefield::guarded([&] { *memory = densefield::allocate(bytes); });
}

extern "C" int df_memory_release(void* memory) {
    return densefield::guarded([&] { densefield::release(memory); });
}
