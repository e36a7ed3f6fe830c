#include "memory.h"

#include <cstdlib>
#include <new>

#if defined(_WIN32)
#include <malloc.h>
#endif

namespace densefield {

void* allocate(int64_t bytes) {
    constexpr int64_t line = 64;
    if (bytes < 0 || bytes > INT64_MAX - line) throw std::bad_alloc();
    const auto rounded = static_cast<size_t>((bytes + line) / line * line);
#if defined(_WIN32)
    void* const memory = _aligned_malloc(rounded, line);
#else
    void* const memory = std::aligned_alloc(line, rounded);
#endif
    if (memory == nullptr) throw std::bad_alloc();
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
