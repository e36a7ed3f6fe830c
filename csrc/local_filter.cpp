// Rows are worked on in blocks of a few, one vector of columns at a time; every number is written by one chunk of work,
// always in the same order, so that results do not depend on the number of threads.
#include "local_filter.h"

#include <cfloat>

#include "around.h"
#include "dispatch.h"
#include "memory.h"
#include "pair_gradient.h"
#include "parallel.h"

namespace densefield {

template <class T>
struct FilterCall {
    const T *masks, *map, *centre;
    T centre_value;
    const T* floor;
    T floor_value;
    bool normalize;
    T *factor, *output_map, *output;
    const T* partner;
    T* dot;
    int64_t channels;
};

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
constexpr T tiny = sizeof(T) == 4 ? T(FLT_MIN) : T(DBL_MIN);

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

// One block of rows (from `row` of the band's class), one vector of columns.
template <class T>
class FilterBlock {
    static constexpr int64_t most = block_rows == 4 ? 6 : 4;  // channels in registers

public:
    FilterBlock(const Window& w, const FilterCall<T>& call, const Band& band, const T* zeros)
        : w(w),
          call(call),
          band(band),
          zeros(zeros),
          rows(block_rows + 2 * w.half_y),
          mask_rows(w),
          around(w.offsets() * block_rows * lanes<T>),
          groups((call.channels + most - 1) / most),
          turns(2 * w.half_x + 1),
          ahead(block_rows * (w.planes + 3 * call.channels), groups * turns) {}

    void at_rows(int64_t first) {
        row = first;
        count = at_most(block_rows, band.row + band.rows - row);
        mask_rows.at(w, band, call.masks, row);
        for (int64_t i = 0; i < block_rows + 2 * w.half_y; ++i) {
            const int64_t r = row - w.half_y + i;
            rows[i] = band.inside(r) ? w.map_row(call.map, call.channels, band.b, image_row(r)) : zeros;
        }
        ahead.clear();
        for (int64_t a = 0; a < block_rows; ++a) {
            ahead.add(mask_rows.own(w, a), w.stride, w.planes);
            ahead.add(rows[2 * w.half_y + a] + w.reach, w.stride, call.channels);
        }
        const T* const maps[] = {call.output_map, call.partner};
        for (int64_t a = 0; a < count; ++a)
            for (const T* const map : maps)
                if (map != nullptr)
                    ahead.add(w.map_row(map, call.channels, band.b, image_row(row + a)), w.stride, call.channels);
        if (call.output != nullptr)  // its rows are not aligned: the line where a vector ends is new
            for (int64_t a = 0; a < count; ++a)
                ahead.add(call.output + (band.b * call.channels * w.height + image_row(row + a)) * w.width + lanes<T> - 1,
                          w.height * w.width, call.channels);
        ahead.close();
    }

    void at_columns(int64_t x) {
        mask_rows.lay_around(w, x, around.data());
        const int64_t left = w.width - x;
        for (int64_t a = 0; a < block_rows; ++a) {
            factor[a] = broadcast(T(1));
            dot[a] = Vector<T>{};
            if (a >= count) continue;
            const int64_t pixel = (band.b * w.height + image_row(row + a)) * w.width + x;
            centre[a] = call.centre != nullptr ? load_up_to(call.centre + pixel, left) : broadcast(call.centre_value);
            if (call.normalize) {
                Vector<T> sum =
                    centre[a] + (call.floor != nullptr ? load_up_to(call.floor + pixel, left) : broadcast(call.floor_value));
                for (int64_t o = 0; o < w.offsets(); ++o) sum += load(around.data() + (o * block_rows + a) * lanes<T>);
                factor[a] = sum >= broadcast(tiny<T>) ? T(1) / sum : Vector<T>{};
                store_up_to(call.factor + pixel, factor[a], left);
            } else if (call.factor != nullptr) {
                factor[a] = load_up_to(call.factor + pixel, left);
            }
        }
        for (int64_t g = 0, c = 0; g < groups; ++g) {
            const int64_t next = (g + 1) * call.channels / groups;
            switch (next - c) {
                case 1: channels<1>(g, c, x, left); break;
                case 2: channels<2>(g, c, x, left); break;
                case 3: channels<3>(g, c, x, left); break;
                case 4: channels<4>(g, c, x, left); break;
                case 5: channels<5>(g, c, x, left); break;
                default: channels<6>(g, c, x, left); break;
            }
            c = next;
        }
        if (call.partner != nullptr)
            for (int64_t a = 0; a < count; ++a) {
                T* const to = w.map_row(call.dot, 1, band.b, image_row(row + a)) + x;
                store(to, load(to) + dot[a]);
            }
    }

private:
    int64_t image_row(int64_t r) const { return band.first_y + r * w.step; }

    template <int n>
    void channels(int64_t group, int64_t c, int64_t x, int64_t left) {
        Vector<T> sum[block_rows][n];
        DF_UNROLL for (int a = 0; a < block_rows; ++a)
            DF_UNROLL for (int i = 0; i < n; ++i) sum[a][i] = Vector<T>{};
        filter_block<T, n>(w, rows.data(), c, x, around.data(), ahead, group * turns, sum);
        for (int64_t a = 0; a < count; ++a) {
            const int64_t y = image_row(row + a);
            const T* const own = rows[w.half_y + a] + x;
            for (int64_t i = 0; i < n; ++i) {
                const Vector<T> value = (sum[a][i] + centre[a] * load(own + (c + i) * w.stride)) * factor[a];
                if (call.partner != nullptr) {
                    const T* const partner = w.map_row(call.partner, call.channels, band.b, y);
                    dot[a] += value * load(partner + (c + i) * w.stride + x);
                }
                if (call.output_map != nullptr) {
                    T* const to = w.map_row(call.output_map, call.channels, band.b, y) + (c + i) * w.stride + x;
                    if (left < lanes<T>) store(to, Vector<T>{});
                    store_up_to(to, value, left);
                } else {
                    T* const to = call.output + ((band.b * call.channels + c + i) * w.height + y) * w.width + x;
                    store_up_to(to, value, left);
                }
            }
        }
    }

    const Window& w;
    const FilterCall<T>& call;
    const Band& band;
    const T* const zeros;
    Buffer<const T*> rows;
    PlaneRows<T> mask_rows;
    Buffer<T> around;
    const int64_t groups, turns;
    Ahead<T> ahead;
    int64_t row = 0, count = 0;
    Vector<T> centre[block_rows], factor[block_rows], dot[block_rows];
};

template <class T>
struct Zeros {  // a row of a map, or less, of zeros
    Buffer<T> data;
    explicit Zeros(const Window& w, int64_t channels) : data(channels * w.stride + 2 * w.lead) {
        std::memset(data.data(), 0, sizeof(T) * static_cast<size_t>(channels * w.stride + 2 * w.lead));
    }
    const T* row(const Window& w) const { return data.data() + w.lead; }
};

template <class T>
void filter_of(const Window& w, const FilterCall<T>& call, int n_threads) {
    constexpr int64_t band_rows = 2 * block_rows;
    if (call.output_map != nullptr) clear_ends(w, call.output_map, call.channels);
    const Zeros<T> zeros(w, call.channels);
    const auto body = [&](int64_t chunk, int) {
        const Band band(w, chunk, band_rows);
        if (band.rows == 0) return;
        FilterBlock<T> block(w, call, band, zeros.row(w));
        for (int64_t row = band.row; row < band.row + band.rows; row += block_rows) {
            block.at_rows(row);
            for (int64_t x = 0; x < w.stride; x += lanes<T>) block.at_columns(x);
        }
    };
    parallel_for(Band::count(w, band_rows), n_threads, body);
}

// The sum of two products: at p and q stand a vector of h and one of s.
struct Products {
    template <class T>
    struct Both {
        Vector<T> h, s;
    };
    template <class T, class Rows>
    static DF_INLINE Both<T> at(Rows rows, int64_t row, int64_t shift) {
        return {held(load(rows.h[row] + shift)), held(load(rows.s[row] + shift))};
    }
    template <class T>
    static DF_INLINE Vector<T> add(Vector<T> sum, const Both<T>& p, const Both<T>& q) {
        return sum + p.h * q.s + p.s * q.h;
    }
};

template <class T>
struct ListedTwice {
    Listed<T> h, s;
};

template <class T>
void products_of(const Window& w, const T* h, const T* s, const T* masks, const T* dot, T* sums, int64_t channels,
                 bool add, int n_threads) {
    constexpr int64_t band_rows = 2 * block_rows;
    const int64_t parts = (channels + 11) / 12, around_rows = block_rows + w.half_y;
    if (!add) clear_ends(w, sums, w.planes);
    const Zeros<T> zeros(w, channels);
    const auto body = [&](int64_t chunk, int) {
        const Band band(w, chunk, band_rows);
        Buffer<const T*> h_rows(around_rows), s_rows(around_rows), dot_rows(around_rows);
        Buffer<T> block(w.planes * block_rows * lanes<T>);
        for (int64_t row = band.row; row < band.row + band.rows; row += block_rows) {
            for (int64_t i = 0; i < around_rows; ++i) {
                const int64_t r = row + i, y = band.first_y + r * w.step;
                const bool inside = band.inside(r);
                h_rows[i] = inside ? w.map_row(h, channels, band.b, y) : zeros.row(w);
                s_rows[i] = inside ? w.map_row(s, channels, band.b, y) : zeros.row(w);
                dot_rows[i] = inside && dot != nullptr ? w.map_row(dot, 1, band.b, y) : zeros.row(w);
            }
            for (int64_t x = 0; x < w.stride; x += lanes<T>) {
                for (int64_t a = 0; a < block_rows; ++a) {
                    prefetch_lines(h_rows[w.half_y + a] + x + lanes<T> + w.reach, w.stride, channels);
                    prefetch_lines(s_rows[w.half_y + a] + x + lanes<T> + w.reach, w.stride, channels);
                }
                for (int64_t part = 0; part < parts; ++part) {
                    const int64_t c = part * channels / parts, next = (part + 1) * channels / parts;
                    const auto rows_at = [&](int64_t dy, int64_t dx) {
                        const int64_t shift = c * w.stride + x + dx * w.rate;
                        return ListedTwice<T>{{h_rows.data() + dy, shift}, {s_rows.data() + dy, shift}};
                    };
                    sum_all_pairs<T, Products>(w, rows_at(0, 0), rows_at, next - c, w.stride, block.data(), part > 0);
                }
                for (int64_t a = 0; a < at_most(block_rows, band.row + band.rows - row); ++a) {
                    const int64_t start =
                        w.plane_row(sums, band.b, band.first_y + (row + a) * w.step) - sums + x;
                    if (add) prefetch_lines(sums + start + lanes<T>, w.stride, w.planes);
                    if (masks != nullptr) prefetch_lines(masks + start + lanes<T>, w.stride, w.planes);
                    for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx)
                        for (int64_t dy = w.first_dy(dx); dy <= w.half_y; ++dy) {
                            const int64_t plane = w.plane(dy, dx), place = start + plane * w.stride;
                            Vector<T> sum = load(block.data() + (plane * block_rows + a) * lanes<T>);
                            if (add) sum += load(sums + place);
                            if (masks != nullptr)
                                sum = load(masks + place) *
                                      (load(dot_rows[a] + x) + load(dot_rows[a + dy] + x + dx * w.rate) - sum);
                            store(sums + place, sum);
                        }
                }
            }
        }
    };
    parallel_for(Band::count(w, band_rows), n_threads, body);
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
