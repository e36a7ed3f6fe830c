#include "base/dispatch.h"

#include <cstdlib>
#include <cstring>

#include "densefield.h"

#if defined(DF_X86)
#include <cpuid.h>
#endif

namespace densefield {
namespace {

#if defined(DF_X86)
// What __builtin_cpu_supports("f16c") tells; Clang knows the name from 15 on.
bool converts_half() {
    unsigned int a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

Cpu choose() {
#if defined(DF_X86)
    const char* const asked = std::getenv("DENSEFIELD_CPU");
    const auto wants = [asked](const char* name) { return asked != nullptr && std::strcmp(asked, name) == 0; };
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && converts_half();
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (wants("baseline")) return Cpu::baseline;
    if (avx512 && !wants("avx2")) return Cpu::avx512;
    if (avx2) return Cpu::avx2;
#endif
    return Cpu::baseline;
}

}  // namespace

Cpu cpu() {
    static const Cpu chosen = choose();
    return chosen;
}

}  // namespace densefield

extern "C" const char* df_cpu(void) {
    switch (densefield::cpu()) {
        case densefield::Cpu::avx512: return "avx512";
        case densefield::Cpu::avx2: return "avx2";
        default: return "baseline";
    }
}
