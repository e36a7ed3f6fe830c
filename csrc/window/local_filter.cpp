// Every number is written by one chunk of work, always in the same order, so that results do not depend on the number of
// threads. Here: masks, packing, the C face.
#include "base/dispatch.h"
#include "base/exponentials.h"
#include "base/parallel.h"
#include "densefield.h"
#include "window/filter_chain.h"
#include "window/pair_gradient.h"

namespace densefield {

DF_DECLARE(void pair_masks(const Window& w, const df_pair_masks_job& job);
           void window_pack(const Window& w, const df_window_pack_job& job);
           void window_filter(const Window& w, const df_window_filter_job& job);
           void window_filter_gradient(const Window& w, const df_window_filter_gradient_job& job);
           void pair_gradient_of_job(const Window& w, const df_pair_gradient_job& job);)

namespace DF_TARGET {
namespace {

template <class T>
struct MaskEpilogue {
    T scale;
    DF_INLINE void row(const Window&, int64_t, int64_t, int64_t) {}
    DF_INLINE void end_row() {}
    DF_INLINE Vector<T> operator()(Vector<T> distance, int64_t, int64_t) {
        return exponential(distance * -scale);
    }
};

template <class T>
void pair_masks_of(const Window& w, const df_pair_masks_job& job) {
    const auto scale = static_cast<T>(job.scale);
    each_distance<T>(w, pair_kernels<T>(job.distance), static_cast<const T*>(job.embeddings), job.channels,
                     static_cast<T*>(job.masks), job.n_threads, [scale](int64_t) { return MaskEpilogue<T>{scale}; });
}

template <class T>
bool is_finite(const T* from, int64_t count) {
    Vector<T> zero[2] = {};  // stay zero as long as 0 x = 0
    int64_t i = 0;
    for (; i + 2 * lanes<T> <= count; i += 2 * lanes<T>)
        DF_UNROLL for (int k = 0; k < 2; ++k) zero[k] += load(from + i + k * lanes<T>) * T(0);
    T rest = total<T>(zero[0] + zero[1]);
    for (; i < count; ++i) rest += from[i] * T(0);
    return rest == T(0);
}

template <class T>
void pack_map(const Window& w, const df_window_pack_job& job) {
    const T *const all = static_cast<const T*>(job.values), *const partners = static_cast<const T*>(job.partner);
    const T* const factor = static_cast<const T*>(job.factor);
    T *const map = static_cast<T*>(job.map), *const dot = static_cast<T*>(job.dot);
    const int64_t size = round_up(job.channels, Window::octet), plane = w.height * w.width;
    clear_beside(w, map, job.channels);
    if (dot != nullptr) clear_ends(w, dot, 1);
    const auto body = [&](int64_t chunk, int) {
        const int64_t b = chunk / w.height, y = chunk % w.height, pixel = b * plane + y * w.width;
        const T* const values = all + (b * job.channels * w.height + y) * w.width;
        T* const to = w.map_row(map, job.channels, b, y);
        pack(values, size, job.channels, plane, w.width, T(0), to);
        if (job.finite && !is_finite(to, w.width * size)) throw BadArgument();
        if (factor != nullptr)
            for (int64_t x = 0; x < w.width; ++x)
                for (int64_t i = x * size; i < (x + 1) * size; i += Window::octet)
                    store(to + i, load<Octet<T>>(to + i) * octet_of(factor[pixel + x]));
        if (dot == nullptr) return;
        T* const dots = w.line(dot, b, y);
        std::memset(dots, 0, sizeof(T) * static_cast<size_t>(w.stride));
        const T* const partner = partners + (b * job.channels * w.height + y) * w.width;
        for (int64_t c = 0; c < job.channels; ++c)
            for (int64_t x = 0; x < w.width; ++x) dots[x] += values[c * plane + x] * partner[c * plane + x];
        if (factor != nullptr)
            for (int64_t x = 0; x < w.width; ++x) dots[x] *= factor[pixel + x];
    };
    parallel_for(w.batch * w.height, job.n_threads, body);
}

template <class T>
void filter_of(const Window& w, const df_window_filter_job& job) {
    const FilterCall<T> filter{static_cast<const T*>(job.masks), static_cast<const T*>(job.centre),
                               static_cast<T>(job.centre_value), static_cast<const T*>(job.factor), job.channels};
    const ChainCall<T> call{filter,
                            static_cast<const T*>(job.floor),
                            static_cast<T>(job.floor_value),
                            job.normalize != 0,
                            static_cast<T*>(job.factor),
                            reinterpret_cast<T* const*>(job.maps),
                            static_cast<T*>(job.output),
                            job.iterations};
    filter_chain(w, call, job.n_threads);
}

template <class T>
void filter_gradient_of(const Window& w, const df_window_filter_gradient_job& job) {
    const FilterCall<T> filter{static_cast<const T*>(job.masks), static_cast<const T*>(job.centre),
                               static_cast<T>(job.centre_value), static_cast<const T*>(job.factor), job.channels};
    const ChainGradientCall<T> call{filter,
                                    reinterpret_cast<T* const*>(job.maps),
                                    static_cast<T*>(job.h),
                                    static_cast<T*>(job.spare),
                                    static_cast<T*>(job.dot),
                                    static_cast<T*>(job.sums),
                                    static_cast<T*>(job.of_centre),
                                    static_cast<T*>(job.output),
                                    job.iterations};
    filter_chain_gradient(w, call, job.n_threads);
}

template <class T>
void pair_gradient_of(const Window& w, const df_pair_gradient_job& job) {
    const GradientCall<T, T> call{static_cast<const T*>(job.embeddings), static_cast<const T*>(job.weights),
                                  static_cast<T*>(job.gradient), job.channels, static_cast<T>(job.scale), nullptr};
    pair_gradient(w, pair_kernels<T>(job.distance), call, job.scale_gradient, job.n_threads);
}

}  // namespace

void pair_masks(const Window& w, const df_pair_masks_job& job) {
    job.type == DF_F32 ? pair_masks_of<float>(w, job) : pair_masks_of<double>(w, job);
}
void window_pack(const Window& w, const df_window_pack_job& job) {
    job.type == DF_F32 ? pack_map<float>(w, job) : pack_map<double>(w, job);
}
void window_filter(const Window& w, const df_window_filter_job& job) {
    job.type == DF_F32 ? filter_of<float>(w, job) : filter_of<double>(w, job);
}
void window_filter_gradient(const Window& w, const df_window_filter_gradient_job& job) {
    job.type == DF_F32 ? filter_gradient_of<float>(w, job) : filter_gradient_of<double>(w, job);
}
void pair_gradient_of_job(const Window& w, const df_pair_gradient_job& job) {
    job.type == DF_F32 ? pair_gradient_of<float>(w, job) : pair_gradient_of<double>(w, job);
}

}  // namespace DF_TARGET
}  // namespace densefield

#if defined(DF_ENTRY)
extern "C" int df_pair_masks(const df_pair_masks_job* job) {
    using namespace densefield;
    return with_window(*job, [job](const Window& w) { DF_DISPATCH(pair_masks(w, *job)); });
}

extern "C" int df_window_pack(const df_window_pack_job* job) {
    using namespace densefield;
    return with_window(*job, [job](const Window& w) { DF_DISPATCH(window_pack(w, *job)); });
}

extern "C" int df_window_filter(const df_window_filter_job* job) {
    using namespace densefield;
    return with_window(*job, [job](const Window& w) { DF_DISPATCH(window_filter(w, *job)); });
}

extern "C" int df_window_filter_gradient(const df_window_filter_gradient_job* job) {
    using namespace densefield;
    return with_window(*job, [job](const Window& w) { DF_DISPATCH(window_filter_gradient(w, *job)); });
}

extern "C" int df_pair_gradient(const df_pair_gradient_job* job) {
    using namespace densefield;
    return with_window(*job, [job](const Window& w) { DF_DISPATCH(pair_gradient_of_job(w, *job)); });
}
#endif
