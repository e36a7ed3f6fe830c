// A k x k window with dilation over images, and how values of its pixel pairs lie in memory.
//
// A pair (p, p + offset) is stored once, at p, for the half of the offsets with dy > 0 or dy = 0, dx > 0. `Planes` are
// laid out (batch, height, half offsets, stride): all offsets of a row together, zero where a pair leaves the image.
// stride exceeds the width by at least the reach, and what lies there is zero, so that reading beside a row reads zeros;
// `lead` zeros stand before and after the whole. `Maps` of C channels are laid out (batch, height, pixels, C rounded up to
// `octet`), with zeros beside the rows and `map_lead` pixels of zeros before and after, for the same reason.
// ops/local_filter/window.py computes the same sizes.
//
// Rows that see each other are `step` apart: they form `step` classes that are worked on one after the other, with rows
// numbered within the class.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/guard.h"
#include "base/memory.h"
#include "base/vectors.h"

namespace densefield {
namespace {

DF_INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
DF_INLINE int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
DF_INLINE int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

}  // namespace

// Members are always inlined: this type is shared by code for different CPUs, whose copies must not stand in for another.
struct Window {
    int64_t batch, height, width, rate;
    int64_t half_y, half_x;  // cut to offsets that stay inside the image somewhere
    int64_t step, reach, stride, lead, planes, pixels, map_lead;
    static constexpr int64_t octet = 8, block = 16;  // pixels, a rate apart, that may be read past the end of a row

    DF_INLINE Window(int64_t batch, int64_t height, int64_t width, int64_t window, int64_t rate)
        : batch(batch), height(height), width(width), rate(rate) {
        if (batch < 1 || height < 1 || width < 1 || window < 1 || window % 2 == 0 || rate < 1) throw BadArgument();
        half_y = at_most(window / 2, (height - 1) / rate);
        half_x = at_most(window / 2, (width - 1) / rate);
        step = half_y > 0 ? rate : 1;
        reach = half_x * rate;
        stride = round_up(width + reach, 16);
        lead = round_up(reach + block * rate, 16);
        planes = half_x + half_y * (2 * half_x + 1);
        pixels = round_up(width + reach, octet);
        map_lead = round_up(reach + block * rate, octet);
    }

    // The plane of offset (dy, dx), dy > 0 or dy = 0 < dx; planes of one dy and rising dx lie together.
    DF_INLINE int64_t plane(int64_t dy, int64_t dx) const {
        return dy == 0 ? dx - 1 : half_x + (dy - 1) * (2 * half_x + 1) + dx + half_x;
    }
    DF_INLINE int64_t first_dy(int64_t dx) const { return dx <= 0 ? 1 : 0; }
    // Steps of `rate` that lie inside the image above and below row y, up to those of the window.
    DF_INLINE int64_t rows_above(int64_t y) const { return at_most(half_y, y / rate); }
    DF_INLINE int64_t rows_below(int64_t y) const { return at_most(half_y, (height - 1 - y) / rate); }
    DF_INLINE int64_t rows_in_class() const { return (height + step - 1) / step; }  // at most

    template <class T>
    DF_INLINE T* plane_row(T* planes_data, int64_t b, int64_t y) const {
        return planes_data + lead + (b * height + y) * planes * stride;
    }
    // A row of one number a pixel, laid out like a single plane.
    template <class T>
    DF_INLINE T* line(T* lines, int64_t b, int64_t y) const {
        return lines + lead + (b * height + y) * stride;
    }
    template <class T>
    DF_INLINE T* map_row(T* map, int64_t channels, int64_t b, int64_t y) const {
        return map + (map_lead + (b * height + y) * pixels) * round_up(channels, octet);
    }
};

namespace {

// What a C function does: body(window) for the window that its job describes.
template <class Job, class Body>
int with_window(const Job& job, const Body& body) {
    return guarded([&] {
        check_type(job.type);
        body(Window(job.shape[0], job.shape[1], job.shape[2], job.shape[3], job.shape[4]));
    });
}

// A number of rows of one class of one image: what one thread works on at a time.
struct Band {
    int64_t b, first_y, row, rows, rows_of_class;  // image row of class row r: first_y + step r

    Band(const Window& w, int64_t chunk, int64_t height) {
        const int64_t bands = (w.rows_in_class() + height - 1) / height;
        b = chunk / (bands * w.step);
        first_y = chunk / bands % w.step;
        row = chunk % bands * height;
        rows_of_class = first_y < w.height ? (w.height - first_y + w.step - 1) / w.step : 0;
        rows = at_least(0, at_most(height, rows_of_class - row));
    }
    static int64_t count(const Window& w, int64_t height) {
        return w.batch * w.step * ((w.rows_in_class() + height - 1) / height);
    }
    bool inside(int64_t r) const { return r >= 0 && r < rows_of_class; }
};

// Zeros before and after planes, which the caller leaves uninitialised.
template <class T>
void clear_ends(const Window& w, T* planes, int64_t count) {
    for (int64_t x = 0; x < w.lead; ++x) planes[x] = planes[w.lead + w.batch * w.height * count * w.stride + x] = 0;
}

}  // namespace
}  // namespace densefield
