#include "base/watch.h"

#include <chrono>

namespace densefield {

double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace densefield
