// Where every kernel is entered and left: no C++ exception may leave through the C face, nor the mode of its arithmetic.
#pragma once

#include <new>

#include "base/denormals.h"
#include "densefield.h"

namespace densefield {

struct BadArgument {};  // no base: its inline members would be compiled for every target

namespace {

inline void check_type(int32_t type) {
    if (type != DF_F32 && type != DF_F64) throw BadArgument();
}

template <class Body>  // void body(), which may throw
inline int guarded(const Body& body) {
    const FlushDenormals flush;
    try {
        body();
        return DF_OK;
    } catch (const BadArgument&) {
        return DF_BAD_ARGUMENT;
    } catch (const std::bad_alloc&) {
        return DF_OUT_OF_MEMORY;
    } catch (...) {
        return DF_FAILED;
    }
}

}  // namespace
}  // namespace densefield
