// Every number is written by one chunk of work, always in the same order, so that results do not depend on the number of
// threads. Here: masks, packing, the C face.

#include "base/dispatch.h"
#include "base/exponentials.h"
#include "base/parallel.h"
#include "densefield.h"
#include "window/filter_chain.h"
#include "window/pair_gradient.h"

namespace densefield {

template <class T>
struct PackCall {
    const T *values, *factor, *partner;
    T *map, *dot;
    int64_t channels;
    bool finite;
};

#define DF_DECLARE_FOR(T)                                                                                             \
    DF_DECLARE(void pair_masks(const Window& w, const T* embeddings, T* masks, int64_t channels, int distance,        \
                               T scale, int n_threads);                                                               \
               void pack(const Window& w, const PackCall<T>& call, int n_threads);                                    \
               void filter(const Window& w, const ChainCall<T>& call, int n_threads);                                 \
               void filter_gradient(const Window& w, const ChainGradientCall<T>& call, int n_threads);                \
               void gradient(const Window& w, const T* embeddings, const T* weights, T* result, int64_t channels,     \
                             int distance, T scale, double* scale_gradient, int n_threads);)
DF_DECLARE_FOR(float)
DF_DECLARE_FOR(double)

namespace DF_TARGET {
namespace {

template <class T>
struct MaskEpilogue {
    T scale;
    DF_INLINE void row(const Window&, int64_t, int64_t, int64_t) {}
    DF_INLINE void end_row() {}
    DF_INLINE Vector<T> operator()(Vector<T> distance, int64_t, int64_t) {
        return exponential<T>(distance * -scale);
    }
};

template <class T>
void pair_masks_of(const Window& w, const T* embeddings, T* masks, int64_t channels, int distance, T scale,
                   int n_threads) {
    each_distance<T>(w, pair_kernels<T>(distance), embeddings, channels, masks, n_threads,
                     [&](int64_t) { return MaskEpilogue<T>{scale}; });
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
void pack_map(const Window& w, const PackCall<T>& call, int n_threads) {
    const int64_t size = round_up(call.channels, Window::octet), plane = w.height * w.width;
    clear_beside(w, call.map, call.channels);
    if (call.dot != nullptr) clear_ends(w, call.dot, 1);
    const auto body = [&](int64_t chunk, int) {
        const int64_t b = chunk / w.height, y = chunk % w.height, pixel = b * plane + y * w.width;
        const T* const values = call.values + (b * call.channels * w.height + y) * w.width;
        T* const to = w.map_row(call.map, call.channels, b, y);
        pack(values, size, call.channels, plane, w.width, T(1), T(0), to);
        if (call.finite && !is_finite(to, w.width * size)) throw BadArgument();
        if (call.factor != nullptr)
            for (int64_t x = 0; x < w.width; ++x)
                for (int64_t i = x * size; i < (x + 1) * size; i += Window::octet)
                    store(to + i, load<Octet<T>>(to + i) * octet_of(call.factor[pixel + x]));
        if (call.dot == nullptr) return;
        T* const dots = w.line(call.dot, b, y);
        std::memset(dots, 0, sizeof(T) * static_cast<size_t>(w.stride));
        const T* const partner = call.partner + (b * call.channels * w.height + y) * w.width;
        for (int64_t c = 0; c < call.channels; ++c)
            for (int64_t x = 0; x < w.width; ++x) dots[x] += values[c * plane + x] * partner[c * plane + x];
        if (call.factor != nullptr)
            for (int64_t x = 0; x < w.width; ++x) dots[x] *= call.factor[pixel + x];
    };
    parallel_for(w.batch * w.height, n_threads, body);
}

}  // namespace

#define DF_DEFINE_FOR(T)                                                                                              \
    void pair_masks(const Window& w, const T* embeddings, T* masks, int64_t channels, int distance, T scale,          \
                    int n_threads) {                                                                                  \
        pair_masks_of(w, embeddings, masks, channels, distance, scale, n_threads);                                    \
    }                                                                                                                 \
    void pack(const Window& w, const PackCall<T>& call, int n_threads) { pack_map(w, call, n_threads); }              \
    void filter(const Window& w, const ChainCall<T>& call, int n_threads) { filter_chain(w, call, n_threads); }       \
    void filter_gradient(const Window& w, const ChainGradientCall<T>& call, int n_threads) {                          \
        filter_chain_gradient(w, call, n_threads);                                                                    \
    }                                                                                                                 \
    void gradient(const Window& w, const T* embeddings, const T* weights, T* result, int64_t channels, int distance,  \
                  T scale, double* scale_gradient, int n_threads) {                                                   \
        const GradientCall<T, T> call{embeddings, weights, result, channels, scale, nullptr};                         \
        pair_gradient(w, pair_kernels<T>(distance), call, scale_gradient, n_threads);                                 \
    }
DF_DEFINE_FOR(float)
DF_DEFINE_FOR(double)

}  // namespace DF_TARGET
}  // namespace densefield

#if defined(DF_ENTRY)
namespace densefield {
namespace {

Window window_of(const int64_t* shape) { return Window(shape[0], shape[1], shape[2], shape[3], shape[4]); }

}  // namespace
}  // namespace densefield

#define DF_ENTRY_FOR(T, S)                                                                                            \
    extern "C" int df_pair_masks_##S(const T* embeddings, T* masks, const int64_t* shape, int64_t channels,           \
                                     int32_t distance, double scale, int32_t n_threads) {                             \
        using namespace densefield;                                                                                   \
        return guarded([&] {                                                                                          \
            const Window w = window_of(shape);                                                                        \
            DF_DISPATCH(pair_masks(w, embeddings, masks, channels, distance, static_cast<T>(scale), n_threads));      \
        });                                                                                                           \
    }                                                                                                                 \
    extern "C" int df_window_pack_##S(const T* values, const T* factor, const T* partner, T* map, T* dot,             \
                                      const int64_t* shape, int64_t channels, int32_t finite, int32_t n_threads) {    \
        using namespace densefield;                                                                                   \
        return guarded([&] {                                                                                          \
            const Window w = window_of(shape);                                                                        \
            const PackCall<T> call{values, factor, partner, map, dot, channels, finite != 0};                         \
            DF_DISPATCH(pack(w, call, n_threads));                                                                    \
        });                                                                                                           \
    }                                                                                                                 \
    extern "C" int df_window_filter_##S(const T* masks, T* const* maps, const T* centre, double centre_value,         \
                                        const T* floor, double floor_value, int32_t normalize, T* factor, T* output,  \
                                        const int64_t* shape, int64_t channels, int64_t iterations,                   \
                                        int32_t n_threads) {                                                          \
        using namespace densefield;                                                                                   \
        return guarded([&] {                                                                                          \
            const Window w = window_of(shape);                                                                        \
            const FilterCall<T> filter{masks, centre, static_cast<T>(centre_value), factor, channels};                \
            const ChainCall<T> call{filter, floor, static_cast<T>(floor_value), normalize != 0,                       \
                                    factor, maps,  output,                      iterations};                          \
            DF_DISPATCH(filter(w, call, n_threads));                                                                  \
        });                                                                                                           \
    }                                                                                                                 \
    extern "C" int df_window_filter_gradient_##S(                                                                     \
        const T* masks, T* const* maps, const T* centre, double centre_value, const T* factor, T* h, T* spare, T* dot, \
        T* sums, T* of_centre, T* output, const int64_t* shape, int64_t channels, int64_t iterations,                 \
        int32_t n_threads) {                                                                                          \
        using namespace densefield;                                                                                   \
        return guarded([&] {                                                                                          \
            const Window w = window_of(shape);                                                                        \
            const FilterCall<T> filter{masks, centre, static_cast<T>(centre_value), factor, channels};                \
            const ChainGradientCall<T> call{filter, maps, h, spare, dot, sums, of_centre, output, iterations};        \
            DF_DISPATCH(filter_gradient(w, call, n_threads));                                                         \
        });                                                                                                           \
    }                                                                                                                 \
    extern "C" int df_pair_gradient_##S(const T* embeddings, const T* weights, T* gradient_out, const int64_t* shape, \
                                        int64_t channels, int32_t distance, double scale, double* scale_gradient,     \
                                        int32_t n_threads) {                                                          \
        using namespace densefield;                                                                                   \
        return guarded([&] {                                                                                          \
            const Window w = window_of(shape);                                                                        \
            DF_DISPATCH(gradient(w, embeddings, weights, gradient_out, channels, distance, static_cast<T>(scale),     \
                                 scale_gradient, n_threads));                                                         \
        });                                                                                                           \
    }
DF_ENTRY_FOR(float, f32)
DF_ENTRY_FOR(double, f64)
#endif
