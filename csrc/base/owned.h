// Memory that a kernel takes when it knows how much.
#pragma once

#include <cstdint>

#include "base/memory.h"

namespace densefield::DF_TARGET {
namespace {

template <class T>  // plain numbers only; not initialised
class Owned {
public:
    Owned() = default;
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() { release(data_); }
    void take(int64_t count) { data_ = static_cast<T*>(allocate(count * static_cast<int64_t>(sizeof(T)))); }
    T* data() const { return data_; }
    T& operator[](int64_t index) const { return data_[index]; }

private:
    T* data_ = nullptr;
};

}  // namespace
}  // namespace densefield::DF_TARGET
