// Iterations that each see a few rows of what the one before made, as a wave over the bands of an image: a band's next
// iteration starts as soon as its neighbours are done, while masks and maps are still in the caches.
#pragma once

#include "base/parallel.h"
#include "window/window.h"

namespace densefield {
namespace {

constexpr int64_t wave_rows = 8;  // of a band

// task(step, band, slot) for all bands and each of `steps` steps. A step sees the rows of its band and, in what the step
// before made, those half a window around it; it may overwrite what the step before read. Tasks must not throw.
template <class Task>
void run_wave(const Window& w, int64_t steps, int n_threads, const Task& task) {
    const int64_t images = w.batch * w.step;  // or classes of rows
    const int64_t bands = Band::count(w, wave_rows) / images;
    const int64_t reach = (w.half_y + wave_rows - 1) / wave_rows;
    const bool alone = n_threads == 1;  // step by step: rows then come one after the other, as processors expect
    const int64_t waves = alone ? bands : bands + (reach + 1) * (steps - 1);
    Signals done(images * steps * bands);
    const auto body = [&](int64_t chunk, int slot) {
        const int64_t image = chunk / (waves * steps), place = chunk % (waves * steps);
        const int64_t step = alone ? place / bands : place % steps;
        const int64_t band = alone ? place % bands : place / steps - (reach + 1) * step;
        if (band < 0 || band >= bands) return;
        // Chunks are begun in order: somebody is at work on these.
        if (step > 0)
            for (int64_t i = at_least(0, band - reach); i <= at_most(bands - 1, band + reach); ++i)
                done.wait_for((image * steps + step - 1) * bands + i);
        task(step, Band(w, image * bands + band, wave_rows), slot);
        done.set((image * steps + step) * bands + band);
    };
    parallel_for(images * waves * steps, n_threads, body, steps > 1);
}

}  // namespace
}  // namespace densefield
