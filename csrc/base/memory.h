// Scratch memory for kernels, aligned to a cache line. Kernels use this in place of std::vector, whose member functions
// compiled for AVX-512 the linker could hand to the baseline path.
#pragma once

#include <cstddef>
#include <cstdint>

namespace densefield {

void* allocate(int64_t bytes);  // throws std::bad_alloc
void release(void* memory);
// For memory of the caller's that a kernel is about to fill.
void prefer_large_pages(void* memory, int64_t bytes);

namespace {

template <class T>  // plain numbers only; not initialised
class Buffer {
public:
    explicit Buffer(int64_t count)
        : data_(static_cast<T*>(allocate(count * static_cast<int64_t>(sizeof(T))))) {}
    ~Buffer() { release(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    T* data() const { return data_; }
    T& operator[](int64_t index) const { return data_[index]; }

private:
    T* data_;
};

}  // namespace
}  // namespace densefield
