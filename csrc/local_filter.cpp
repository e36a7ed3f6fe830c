// Rows are worked on in blocks of a few, one vector of columns at a time; every number is written by one chunk of work,
// always in the same order, so that results do not depend on the number of threads. Here: masks, packing, the C face.
#include "local_filter.h"

#include "dispatch.h"
#include "memory.h"
#include "pair_gradient.h"
#include "pair_products.h"
#include "parallel.h"
#include "window_filter.h"

namespace densefield {

#define DF_DECLARE_FOR(T)                                                                                             \
    DF_DECLARE(void pair_masks(const Window& w, const T* embeddings, T* masks, int64_t channels, int distance,        \
                               T scale, int n_threads);                                                               \
               void pack(const Window& w, const T* values, const T* factor, const T* partner, T* map, T* dot,         \
                         int64_t channels, bool finite, int n_threads);                                                            \
               void filter(const Window& w, const FilterCall<T>& call, int n_threads);                                \
               void products(const Window& w, const T* h, const T* s, const T* masks, const T* dot, T* sums,          \
                             int64_t channels, bool add, int n_threads);                                              \
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
    with_distance(distance, [&](auto op) {
        each_distance<T, decltype(op)>(w, embeddings, channels, masks, n_threads,
                                       [&](int64_t) { return MaskEpilogue<T>{scale}; });
    });
}

template <class T>
void pack_of(const Window& w, const T* values, const T* factor, const T* partner, T* map, T* dot, int64_t channels,
             bool finite, int n_threads) {
    clear_ends(w, map, channels);
    if (partner != nullptr) clear_ends(w, dot, 1);
    const auto body = [&](int64_t chunk, int) {
        const int64_t b = chunk / w.height, y = chunk % w.height, plane = w.height * w.width;
        T* const to = w.map_row(map, channels, b, y);
        T* const sums = partner != nullptr ? w.map_row(dot, 1, b, y) : nullptr;
        const T* const factors = factor != nullptr ? factor + b * plane + y * w.width : nullptr;
        if (sums != nullptr)
            for (int64_t x = 0; x < w.stride; ++x) sums[x] = 0;
        Vector<T> zero = {};
        for (int64_t c = 0; c < channels; ++c) {
            const int64_t from = (b * channels + c) * plane + y * w.width;
            T* const line = to + c * w.stride;
            copy_row(line, values + from, w.width, zero);
            if (factors != nullptr)
                for (int64_t x = 0; x < w.width; ++x) line[x] *= factors[x];
            for (int64_t x = w.width; x < w.stride; ++x) line[x] = 0;
            if (sums != nullptr)
                for (int64_t x = 0; x < w.width; ++x) sums[x] += line[x] * partner[from + x];
        }
        if (finite && !(total<T>(zero) == T(0))) throw BadArgument();
    };
    parallel_for(w.batch * w.height, n_threads, body);
}

}  // namespace

#define DF_DEFINE_FOR(T)                                                                                              \
    void pair_masks(const Window& w, const T* embeddings, T* masks, int64_t channels, int distance, T scale,          \
                    int n_threads) {                                                                                  \
        pair_masks_of(w, embeddings, masks, channels, distance, scale, n_threads);                                    \
    }                                                                                                                 \
    void pack(const Window& w, const T* values, const T* factor, const T* partner, T* map, T* dot, int64_t channels,  \
              bool finite, int n_threads) {                                                                           \
        pack_of(w, values, factor, partner, map, dot, channels, finite, n_threads);                                   \
    }                                                                                                                 \
    void filter(const Window& w, const FilterCall<T>& call, int n_threads) { filter_of(w, call, n_threads); }         \
    void products(const Window& w, const T* h, const T* s, const T* masks, const T* dot, T* sums, int64_t channels,   \
                  bool add, int n_threads) {                                                                          \
        products_of(w, h, s, masks, dot, sums, channels, add, n_threads);                                             \
    }                                                                                                                 \
    void gradient(const Window& w, const T* embeddings, const T* weights, T* result, int64_t channels, int distance,  \
                  T scale, double* scale_gradient, int n_threads) {                                                   \
        with_distance(distance, [&](auto op) {                                                                        \
            const GradientCall<T, T> call{embeddings, weights, result, channels, scale, nullptr};                     \
            pair_gradient<T, decltype(op)>(w, call, scale_gradient, n_threads);                                       \
        });                                                                                                           \
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
            DF_DISPATCH(pack(w, values, factor, partner, map, dot, channels, finite != 0, n_threads));                             \
        });                                                                                                           \
    }                                                                                                                 \
    extern "C" int df_window_filter_##S(const T* masks, const T* map, const T* centre, double centre_value,           \
                                        const T* floor, double floor_value, int32_t normalize, T* factor,             \
                                        T* output_map, T* output, const T* partner, T* dot, const int64_t* shape,     \
                                        int64_t channels, int32_t n_threads) {                                        \
        using namespace densefield;                                                                                   \
        return guarded([&] {                                                                                          \
            const Window w = window_of(shape);                                                                        \
            const FilterCall<T> call{masks,      map,    centre,  static_cast<T>(centre_value),                       \
                                     floor,      static_cast<T>(floor_value),                                         \
                                     normalize != 0, factor, output_map, output, partner, dot, channels};             \
            DF_DISPATCH(filter(w, call, n_threads));                                                                  \
        });                                                                                                           \
    }                                                                                                                 \
    extern "C" int df_pair_products_##S(const T* h, const T* s, const T* masks, const T* dot, T* sums,                \
                                        const int64_t* shape, int64_t channels, int32_t add, int32_t n_threads) {     \
        using namespace densefield;                                                                                   \
        return guarded([&] {                                                                                          \
            const Window w = window_of(shape);                                                                        \
            DF_DISPATCH(products(w, h, s, masks, dot, sums, channels, add != 0, n_threads));                          \
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
