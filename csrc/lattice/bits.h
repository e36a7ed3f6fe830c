// Codes of lattice points where they are few enough for one bit each: marked by any number of threads, then numbered in their
// order.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/memory.h"
#include "base/parallel.h"

namespace densefield {
namespace {

class CodeBits {
public:
    // For codes below `cells`, none of them marked.
    CodeBits(int64_t cells, int n_threads)
        : words_((cells + 63) / 64), threads_(n_threads), bits_(words_), before_(words_), total_(chunks() + 1) {
        each_chunk([this](int64_t begin, int64_t end, int64_t) {
            std::memset(bits_.data() + begin, 0, static_cast<size_t>(end - begin) * sizeof(uint64_t));
        });
    }

    void mark(uint64_t code) {
        uint64_t* const word = bits_.data() + (code >> 6);
        const uint64_t bit = uint64_t{1} << (code & 63);
        const uint64_t before = __atomic_load_n(word, __ATOMIC_RELAXED);
        if (before & bit) return;
        if (threads_ == 1)
            __atomic_store_n(word, before | bit, __ATOMIC_RELAXED);
        else
            __atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
    }

    int64_t count() {  // the codes that are marked
        each_chunk([this](int64_t begin, int64_t end, int64_t chunk) {
            int64_t sum = 0;
            for (int64_t word = begin; word < end; ++word) sum += bits_in(bits_[word]);
            total_[chunk + 1] = sum;
        });
        total_[0] = 0;
        for (int64_t chunk = 0; chunk < chunks(); ++chunk) total_[chunk + 1] += total_[chunk];
        return total_[chunks()];
    }

    // After count(): gives the codes, ascending, in memory that the caller releases, and lets place_of() find them.
    uint64_t* number() {
        auto* const codes = static_cast<uint64_t*>(allocate((total_[chunks()] + 1) * static_cast<int64_t>(sizeof(uint64_t))));
        each_chunk([this, codes](int64_t begin, int64_t end, int64_t chunk) {
            int64_t place = total_[chunk];
            for (int64_t word = begin; word < end; ++word) {
                before_[word] = static_cast<uint32_t>(place);
                for (uint64_t left = bits_[word]; left != 0; left &= left - 1)
                    codes[place++] = static_cast<uint64_t>(word) * 64 + static_cast<uint64_t>(__builtin_ctzll(left));
            }
        });
        return codes;
    }

    int32_t place_of(uint64_t code) const {
        const auto word = static_cast<int64_t>(code >> 6);
        return static_cast<int32_t>(before_[word] + bits_in(bits_[word] & ((uint64_t{1} << (code & 63)) - 1)));
    }

private:
    static constexpr int64_t chunk_words = 8192;

    // Compiled for every processor, the builtin would be a call; for one that can, compilers know this as an instruction.
    static uint32_t bits_in(uint64_t word) {
        word -= word >> 1 & 0x5555555555555555u;
        word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
        return static_cast<uint32_t>(((word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
    }

    int64_t chunks() const { return (words_ + chunk_words - 1) / chunk_words; }

    template <class Body>  // void body(first word, beyond the last, chunk)
    void each_chunk(const Body& body) {
        parallel_ranges(words_, chunk_words, threads_, body);
    }

    const int64_t words_;
    const int threads_;
    Buffer<uint64_t> bits_;
    Buffer<uint32_t> before_;  // codes that are marked, before each word
    Buffer<int64_t> total_;    // and before each chunk
};

}  // namespace
}  // namespace densefield
