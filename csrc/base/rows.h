// Rows of W neighbouring channels, computed in float or double and stored as such or in half precision.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/vectors.h"

namespace densefield::DF_TARGET {

// What a row is made of: registers, or what is left of one. (GCC takes wider vectors apart through memory.)
template <class T, int W>
constexpr int block_of = W < lanes<T> ? W : lanes<T>;

// A row as its first block and, beneath it, the row of what remains: 24 floats are 16 and 8, or 8 and 8 and 8.
template <class T, int W>
struct Row : Row<T, W - block_of<T, W>> {
    static constexpr int width = block_of<T, W>;
    using Rest = Row<T, W - width>;
    VectorOf<T, width> head;

    DF_INLINE void zero() {
        head = VectorOf<T, width>{};
        Rest::zero();
    }
    template <class S>
    DF_INLINE void load(const S* from) {
        head = DF_TARGET::load<VectorOf<T, width>>(from);
        Rest::load(from + width);
    }
    template <class S>
    DF_INLINE void store(S* to) const {
        DF_TARGET::store(to, head);
        Rest::store(to + width);
    }
    DF_INLINE void copy_blocks(VectorOf<T, width>* to) const {  // where all are of one width
        *to = head;
        Rest::copy_blocks(to + 1);
    }
    DF_INLINE void add(const Row& other) {
        head += other.head;
        Rest::add(other);
    }
    DF_INLINE void add(const Row& other, T factor) {
        head += other.head * factor;
        Rest::add(other, factor);
    }
    DF_INLINE void scale(T factor) {
        head *= factor;
        Rest::scale(factor);
    }
    DF_INLINE void multiply(const Row& other) {
        head *= other.head;
        Rest::multiply(other);
    }
    template <class S>
    DF_INLINE void add_from(const S* from, T factor) {
        head += DF_TARGET::load<VectorOf<T, width>>(from) * factor;
        Rest::add_from(from + width, factor);
    }
};

template <class T>
struct Row<T, 0> {
    DF_INLINE void zero() {}
    template <class S>
    DF_INLINE void load(const S*) {}
    template <class S>
    DF_INLINE void store(S*) const {}
    template <class Block>
    DF_INLINE void copy_blocks(Block*) const {}
    DF_INLINE void add(const Row&) {}
    DF_INLINE void add(const Row&, T) {}
    DF_INLINE void scale(T) {}
    DF_INLINE void multiply(const Row&) {}
    template <class S>
    DF_INLINE void add_from(const S*, T) {}
};

}  // namespace densefield::DF_TARGET
