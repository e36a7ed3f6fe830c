#include "base/denormals.h"

#include <cstdlib>
#include <cstring>

namespace densefield {

bool keeps_denormals() {
    static const bool keeps = [] {
        const char* const asked = std::getenv("DENSEFIELD_DENORMALS");
        return asked != nullptr && std::strcmp(asked, "keep") == 0;
    }();
    return keeps;
}

}  // namespace densefield
