// One binary for every CPU: each kernel is compiled once for each target, in a namespace of the target's name, and the
// best one that this CPU can run is called. DENSEFIELD_CPU=baseline|avx2|avx512 in the environment asks for less.
#pragma once

namespace densefield {

enum class Cpu { baseline, avx2, avx512 };

Cpu cpu();  // chosen at the first call

}  // namespace densefield

// DF_DECLARE(declaration) declares a function for every target; DF_DISPATCH(f(x)) calls the chosen one.
#if defined(DF_X86)
#define DF_DECLARE(...)                \
    namespace baseline { __VA_ARGS__ } \
    namespace avx2 { __VA_ARGS__ }     \
    namespace avx512 { __VA_ARGS__ }
#define DF_DISPATCH(...)                                                    \
    (::densefield::cpu() == ::densefield::Cpu::avx512 ? avx512::__VA_ARGS__ \
     : ::densefield::cpu() == ::densefield::Cpu::avx2 ? avx2::__VA_ARGS__   \
                                                      : baseline::__VA_ARGS__)
#else
#define DF_DECLARE(...) \
    namespace baseline { __VA_ARGS__ }
#define DF_DISPATCH(...) baseline::__VA_ARGS__
#endif
