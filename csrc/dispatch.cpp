#include "dispatch.h"

#include <cstdlib>
#include <cstring>

#include "densefield.h"

namespace densefield {
namespace {

Cpu choose() {
#if defined(DF_X86)
    const char* const asked = std::getenv("DENSEFIELD_CPU");
    const auto wants = [asked](const char* name) { return asked != nullptr && std::strcmp(asked, name) == 0; };
    __builtin_cpu_init();
    const bool avx2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
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
