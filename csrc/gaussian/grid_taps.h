// The taps of a grid kernel of a mean field: along columns, and along lines.
#pragma once

#include "densefield.h"
#include "gaussian/halving.h"

namespace densefield::DF_TARGET {
namespace {

struct GridTaps {
    bool halved = false;  // lines are filtered at every other pixel
    int64_t places = 0;   // of a filtered line
    Taps y, x;            // x where lines are not halved
    Halving halving;

    void set(const df_field_grid& of, int64_t height, int64_t width, bool half) {
        // What is cut weighs 1e-4 of the whole, less than half precision tells.
        const double least = half ? 5e-4 : 1e-7;
        y.set(of.theta_y, height, least);
        halved = half && Halving::serves(of.theta_x, width);
        places = halved ? (width + 1) / 2 + 2 * Halving::margin : width;
        if (halved)
            halving.set(of.theta_x);
        else
            x.set(of.theta_x, width, least);
    }

    const Taps& along_lines() const { return halved ? halving.first : x; }
};

}  // namespace
}  // namespace densefield::DF_TARGET
