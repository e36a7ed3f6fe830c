// Sums over channels for the pixel pairs of a window, `block_rows` rows and one vector of columns at a time, held in
// registers: what distances are made of.
#pragma once

#include <utility>

#include "parallel.h"
#include "stored.h"
#include "vector_math.h"
#include "window.h"

namespace densefield::DF_TARGET {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int block_rows = 4;  // 20 sums + 4 rows of p in 32 registers
#else
constexpr int block_rows = 2;  // 10 sums + 2 rows of p in 16 registers
#endif
constexpr int most_dy = 5;  // offsets dy that one pass over the channels serves

struct Distance {
    template <class T>  // weights of slopes as these like to read them
    static DF_INLINE Vector<T> laid(Vector<T> weight) {
        return weight;
    }
};

struct L1 : Distance {
    template <class T>
    static DF_INLINE Vector<T> add(Vector<T> sum, Vector<T> p, Vector<T> q) {
        return sum + absolute<T>(p - q) * opaque_one<T>();  // a fused multiply-add runs beside the subtraction
    }
    template <class T>
    static DF_INLINE Vector<T> finish(Vector<T> sum) {
        return sum;
    }
    template <class T, bool fused>  // weight times the derivatives by p and q
    static DF_INLINE void add_slopes(Vector<T>& by_p, Vector<T>& by_q, Vector<T> p, Vector<T> q, Vector<T> weight) {
        add_signed<T, fused>(by_p, by_q, p - q, weight);
    }
    static constexpr bool of_differences = true;
    static constexpr int degree = 1;
};

struct HalfSquaredL2 : Distance {
    template <class T>
    static DF_INLINE Vector<T> add(Vector<T> sum, Vector<T> p, Vector<T> q) {
        const Vector<T> difference = p - q;
        return sum + difference * difference;
    }
    template <class T>
    static DF_INLINE Vector<T> finish(Vector<T> sum) {
        return sum * T(0.5);
    }
    template <class T, bool>
    static DF_INLINE void add_slopes(Vector<T>& by_p, Vector<T>& by_q, Vector<T> p, Vector<T> q, Vector<T> weight) {
        const Vector<T> difference = p - q;
        by_p += difference * weight;
        by_q -= difference * weight;
    }
    static constexpr bool of_differences = true;
    static constexpr int degree = 2;
};

struct MinusDot : Distance {
    template <class T>
    static DF_INLINE Vector<T> add(Vector<T> sum, Vector<T> p, Vector<T> q) {
        return sum + p * q;
    }
    template <class T>
    static DF_INLINE Vector<T> finish(Vector<T> sum) {
        return -sum;
    }
    template <class T, bool>
    static DF_INLINE void add_slopes(Vector<T>& by_p, Vector<T>& by_q, Vector<T> p, Vector<T> q, Vector<T> weight) {
        by_p -= q * weight;
        by_q -= p * weight;
    }
    static constexpr bool of_differences = false;
    static constexpr int degree = 2;
};

// body(Distance()) with the type that `distance` of the C face names.
template <class Body>
void with_distance(int distance, const Body& body) {
    switch (distance) {
        case 0: return body(L1());
        case 1: return body(HalfSquaredL2());
        case 2: return body(MinusDot());
        default: throw BadArgument();
    }
}

// Rows a fixed number of elements apart, known to the compiler where `Apart` is an integral_constant.
template <class T, class Apart>
struct Even {
    const T* first;
    Apart apart;
    DF_INLINE const T* operator[](int64_t row) const { return first + row * static_cast<int64_t>(apart); }
};

// sums[(d * block_rows + a) * lanes] (+)= sum over channels of Op(p, q), p of row a and q of row a + d.
template <class T, class Op, int count, class Rows>
DF_INLINE void sum_pairs(Rows p_rows, Rows q_rows, int64_t channels, int64_t apart, T* sums, bool add) {
    Vector<T> sum[block_rows][count];
    DF_UNROLL for (int a = 0; a < block_rows; ++a)
        DF_UNROLL for (int d = 0; d < count; ++d) sum[a][d] = Vector<T>{};
    for (int64_t c = 0; c < channels; ++c) {
        Vector<T> p[block_rows];
        DF_UNROLL for (int a = 0; a < block_rows; ++a) p[a] = held(load(p_rows[a] + c * apart));
        DF_UNROLL for (int row = 0; row < block_rows + count - 1; ++row) {
            const Vector<T> q = held(load(q_rows[row] + c * apart));
            DF_UNROLL for (int d = 0; d < count; ++d) {
                const int a = row - d;
                if (a >= 0 && a < block_rows) sum[a][d] = Op::template add<T>(sum[a][d], p[a], q);
            }
        }
    }
    DF_UNROLL for (int a = 0; a < block_rows; ++a)
        DF_UNROLL for (int d = 0; d < count; ++d) {
            T* const to = sums + (d * block_rows + a) * lanes<T>;
            store(to, add ? load(to) + sum[a][d] : sum[a][d]);
        }
}

// The place of offset (dy, dx) among the sums of a block: those of one dx and rising dy lie together.
DF_INLINE int64_t place_in_block(const Window& w, int64_t dy, int64_t dx) {
    return dx <= 0 ? (dx + w.half_x) * w.half_y + dy - 1 : (w.half_x + 1) * w.half_y + (dx - 1) * (w.half_y + 1) + dy;
}

// All half offsets of a block; q_rows_at(dy, dx) gives the rows that start at offset (dy, dx) of the block.
template <class T, class Op, class Rows, class RowsAt>
DF_INLINE void sum_all_pairs(const Window& w, Rows p_rows, const RowsAt& q_rows_at, int64_t channels, int64_t apart,
                             T* sums, bool add) {
    for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx) {
        for (int64_t dy = w.first_dy(dx); dy <= w.half_y; dy += most_dy) {
            T* const to = sums + place_in_block(w, dy, dx) * block_rows * lanes<T>;
            const Rows q_rows = q_rows_at(dy, dx);
            switch (at_most(w.half_y - dy + 1, most_dy)) {
                case 1: sum_pairs<T, Op, 1>(p_rows, q_rows, channels, apart, to, add); break;
                case 2: sum_pairs<T, Op, 2>(p_rows, q_rows, channels, apart, to, add); break;
                case 3: sum_pairs<T, Op, 3>(p_rows, q_rows, channels, apart, to, add); break;
                case 4: sum_pairs<T, Op, 4>(p_rows, q_rows, channels, apart, to, add); break;
                default: sum_pairs<T, Op, 5>(p_rows, q_rows, channels, apart, to, add); break;
            }
        }
    }
}

// Writes zero into the planes of image row y where a pair leaves the image, and beside the row.
template <class T>
void clear_outside(const Window& w, T* row, int64_t y) {
    for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx) {
        const int64_t from = at_least(0, -dx * w.rate), to = at_least(from, at_most(w.width, w.width - dx * w.rate));
        for (int64_t dy = w.first_dy(dx); dy <= w.half_y; ++dy) {
            T* const plane = row + w.plane(dy, dx) * w.stride;
            const bool below = y + dy * w.rate >= w.height;
            const int64_t left = below ? w.stride : from;
            for (int64_t x = 0; x < left; ++x) plane[x] = 0;
            for (int64_t x = below ? w.stride : to; x < w.stride; ++x) plane[x] = 0;
        }
    }
}

// The part of an image (channels, height, width) that a band sees between columns x0 and x1, copied together: tile
// (channels, rows, apart), with zeros outside the image.
template <class T>
struct Tile {
    static constexpr int64_t columns = 6 * lanes<T>;
    static constexpr int64_t narrow = 7 * lanes<T>;  // distance between rows where the reach is within half a vector

    int64_t channels, rows, apart;
    Buffer<T> data;
    T* const begin;  // aligned where the image's columns begin, `reach` further on

    Tile(const Window& w, int64_t channels, int64_t rows)
        : channels(channels),
          rows(rows),
          apart(is_narrow(w) ? narrow : round_up(columns + 2 * w.reach, lanes<T>)),
          data(channels * rows * apart + 3 * lanes<T>),
          begin(data.data() + (lanes<T> - w.reach % lanes<T>) % lanes<T>) {}

    static bool is_narrow(const Window& w) { return 2 * w.reach <= lanes<T>; }

    // Throws BadArgument where the image holds NaN or Inf.
    void fill(const Window& w, const Band& band, const T* image, int64_t x0, int64_t above) {
        const int64_t x1 = at_most(x0 + columns, round_up(w.width, lanes<T>));
        const int64_t from = at_least(0, x0 - w.reach), to = at_most(w.width, x1 + w.reach);
        const int64_t before = from - (x0 - w.reach), count = to - from, end = x1 - x0 + 2 * w.reach;
        constexpr int64_t ahead = 2;  // channels: rows this short end before the processor has seen a pattern
        Vector<T> zero = {};          // stays zero as long as 0 x = 0
        for (int64_t c = 0; c < channels; ++c)
            for (int64_t row = 0; row < rows; ++row) {
                // Zeros may run into the next line, which is written later.
                T* const line = begin + (c * rows + row) * apart;
                const int64_t r = band.row - above + row;
                if (!band.inside(r)) {
                    for (int64_t x = 0; x < end; x += lanes<T>) store(line + x, Vector<T>{});
                    continue;
                }
                for (int64_t x = 0; x < before; x += lanes<T>) store(line + x, Vector<T>{});
                const T* const first = image + (c * w.height + band.first_y + r * w.step) * w.width + from;
                if (c + ahead < channels)
                    prefetch_lines(first + ahead * w.height * w.width, line_of<T>, (count + line_of<T> - 1) / line_of<T>);
                copy_row(line + before, first, count, zero);
                for (int64_t x = before + count; x < end; x += lanes<T>) store(line + x, Vector<T>{});
            }
        if (!(total<T>(zero) == T(0))) throw BadArgument();
    }
};

// Rows of one tile from (row, column of the image relative to x0) on.
template <class T, class Apart>
DF_INLINE Even<T, Apart> tile_rows(const Window& w, const Tile<T>& tile, Apart apart, int64_t c, int64_t row,
                                   int64_t x) {
    return {tile.begin + (c * tile.rows + row) * static_cast<int64_t>(apart) + w.reach + x, apart};
}

constexpr int64_t distance_rows = 16;  // of a chunk of work

inline int64_t distance_chunks(const Window& w) { return Band::count(w, distance_rows); }

// All distances, by chunks: what epilogue_of(chunk) makes of them, a vector at a time, is stored into the planes if there
// are any.
template <class T, class Op, class Stored, class EpilogueOf>
void each_distance(const Window& w, const T* embeddings, int64_t channels, Stored* planes, int n_threads,
                   const EpilogueOf& epilogue_of) {
    constexpr int64_t band_rows = distance_rows, channel_block = 16;
    const bool kept = planes != nullptr;
    if (kept) clear_ends(w, planes, w.planes);
    const auto body = [&](int64_t chunk, int) {
        const Band band(w, chunk, band_rows);
        if (band.rows == 0) return;
        auto epilogue = epilogue_of(chunk);
        const int64_t rows = round_up(band.rows, block_rows);
        Tile<T> tile(w, channels, rows + w.half_y);
        Buffer<T> sums(w.planes * block_rows * lanes<T>);
        const T* const image = embeddings + band.b * channels * w.height * w.width;
        const auto work = [&](auto apart, int64_t x0) {
            for (int64_t row = 0; row < rows; row += block_rows)
                for (int64_t x = 0; x < tile.columns && x0 + x < w.width; x += lanes<T>) {
                    const int64_t left = at_most(block_rows, band.rows - row), parts = (channels - 1) / channel_block + 1;
                    const auto result = [&](int64_t a) {
                        return w.plane_row(planes, band.b, band.first_y + (band.row + row + a) * w.step) + x0 + x;
                    };
                    for (int64_t c = 0; c < channels; c += channel_block) {
                        for (int64_t a = c / channel_block; kept && a < left; a += parts)
                            prefetch_to_write(result(a), w.stride, w.planes);
                        const auto p_rows = tile_rows(w, tile, apart, c, row, x);
                        sum_all_pairs<T, Op>(
                            w, p_rows,
                            [&](int64_t dy, int64_t dx) {
                                return tile_rows(w, tile, apart, c, row + dy, x + dx * w.rate);
                            },
                            at_most(channel_block, channels - c), tile.rows * static_cast<int64_t>(apart),
                            sums.data(), c > 0);
                    }
                    for (int64_t a = 0; a < left; ++a) {
                        const int64_t y = band.first_y + (band.row + row + a) * w.step;
                        Stored* const to = kept ? result(a) : nullptr;
                        epilogue.row(w, band.b, y, x0 + x);
                        for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx)
                            for (int64_t dy = w.first_dy(dx); dy <= w.half_y; ++dy) {
                                const int64_t place = place_in_block(w, dy, dx) * block_rows + a;
                                const Vector<T> sum = load(sums.data() + place * lanes<T>);
                                const Vector<T> value = epilogue(Op::template finish<T>(sum), dy, dx);
                                if (kept) store_as<T>(to + w.plane(dy, dx) * w.stride, value);
                            }
                        epilogue.end_row();
                    }
                }
        };
        for (int64_t x0 = 0; x0 < w.width; x0 += tile.columns) {
            tile.fill(w, band, image, x0, 0);
            if (Tile<T>::is_narrow(w)) {
                work(std::integral_constant<int64_t, Tile<T>::narrow>(), x0);
            } else {
                work(tile.apart, x0);
            }
        }
        for (int64_t row = 0; kept && row < band.rows; ++row) {
            const int64_t y = band.first_y + (band.row + row) * w.step;
            clear_outside(w, w.plane_row(planes, band.b, y), y);
        }
    };
    parallel_for(Band::count(w, band_rows), n_threads, body);
}

}  // namespace
}  // namespace densefield::DF_TARGET
