// Numbers below the normal range count as zero while a kernel works. Marginals that vanish would fill the tables with such
// numbers, and a processor that traps to microcode for each is then several times slower.
#pragma once

#include <cstdint>

#if defined(__SSE__) || defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace densefield {

bool keeps_denormals();  // DENSEFIELD_DENORMALS=keep in the environment: for comparisons

namespace {

// Sets the mode of this thread and, at its end, puts back the one that it met, with its flags.
class FlushDenormals {
public:
    FlushDenormals() : met_(read()) {
        if (!keeps_denormals()) write(met_ | flushing);
    }
    ~FlushDenormals() { write(met_); }
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;

private:
#if defined(__SSE__) || defined(__x86_64__)
    using Mode = uint32_t;
    static constexpr Mode flushing = 0x8040;  // MXCSR: FTZ, what is computed, and DAZ, what is read
    static Mode read() { return _mm_getcsr(); }
    static void write(Mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
    using Mode = uint64_t;
    static constexpr Mode flushing = Mode{1} << 24;  // FPCR: FZ, both
    static Mode read() {
        Mode mode;
        asm volatile("mrs %0, fpcr" : "=r"(mode));
        return mode;
    }
    static void write(Mode mode) { asm volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#else
    using Mode = uint32_t;
    static constexpr Mode flushing = 0;
    static Mode read() { return 0; }
    static void write(Mode) {}
#endif

    const Mode met_;
};

}  // namespace
}  // namespace densefield
