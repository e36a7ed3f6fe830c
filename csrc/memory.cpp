#include "memory.h"

#include <cstdlib>
#include <new>

#if defined(_WIN32)
#include <malloc.h>
#elif defined(__linux__)
#include <sys/mman.h>
#endif

namespace densefield {

void* allocate(int64_t bytes) {
    // Large pages, where the system gives them, save most of the cost of first touch and of random access.
    constexpr int64_t page = int64_t{1} << 21;
    const int64_t line = bytes >= 2 * page ? page : 64;
    if (bytes < 0 || bytes > INT64_MAX - line) throw std::bad_alloc();
    const auto rounded = static_cast<size_t>((bytes + line) / line * line);
#if defined(_WIN32)
    void* const memory = _aligned_malloc(rounded, static_cast<size_t>(line));
#else
    void* const memory = std::aligned_alloc(static_cast<size_t>(line), rounded);
#endif
    if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    if (line == page) madvise(memory, rounded, MADV_HUGEPAGE);
#endif
    return memory;
}

void release(void* memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    std::free(memory);
#endif
}

}  // namespace densefield
