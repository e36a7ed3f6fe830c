// The dense CRF as the papers state it (Kraehenbuehl and Koltun 2011; Adams, Baek, Davis 2010), one thread, nothing tuned:
// a hash table of lattice points, values point after point, every step a walk over memory. The yardstick of dense_crf.py.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

class Lattice {
public:
    Lattice(const std::vector<float>& features, int d, int points)
        : d_(d), points_(points), vertices_(size_t(points) * (d + 1)), weights_(size_t(points) * (d + 1)) {
        std::vector<float> scale(d), elevated(d + 1), bary(d + 2);
        for (int i = 0; i < d; ++i) scale[i] = (d + 1) * std::sqrt(2.0f / 3) / std::sqrt((i + 1.0f) * (i + 2.0f));
        std::vector<int> rank(d + 1), zero(d + 1), key(d);
        slots_.assign(1 << 16, -1);
        for (int p = 0; p < points; ++p) {
            float sum = 0;
            for (int j = d; j > 0; --j) {
                const float scaled = features[size_t(p) * d + j - 1] * scale[j - 1];
                elevated[j] = sum - j * scaled;
                sum += scaled;
            }
            elevated[0] = sum;
            int over = 0;
            for (int j = 0; j <= d; ++j) {
                const int near = int(std::round(elevated[j] / (d + 1)));
                zero[j] = near * (d + 1);
                over += near;
                rank[j] = 0;
            }
            for (int i = 0; i < d; ++i)
                for (int j = i + 1; j <= d; ++j)
                    ++rank[elevated[i] - zero[i] < elevated[j] - zero[j] ? i : j];
            for (int j = 0; j <= d; ++j) {
                rank[j] += over;
                if (rank[j] < 0) rank[j] += d + 1, zero[j] += d + 1;
                if (rank[j] > d) rank[j] -= d + 1, zero[j] -= d + 1;
            }
            std::fill(bary.begin(), bary.end(), 0.0f);
            for (int j = 0; j <= d; ++j) {
                const float gap = (elevated[j] - zero[j]) / (d + 1);
                bary[d - rank[j]] += gap;
                bary[d + 1 - rank[j]] -= gap;
            }
            bary[0] += 1 + bary[d + 1];
            for (int r = 0; r <= d; ++r) {
                for (int i = 0; i < d; ++i) key[i] = zero[i] + (rank[i] <= d - r ? r : r - (d + 1));
                vertices_[size_t(p) * (d + 1) + r] = find(key.data(), true);
                weights_[size_t(p) * (d + 1) + r] = bary[r];
            }
        }
        rows_ = int(keys_.size() / d);
        neighbours_.resize(size_t(rows_) * (d + 1) * 2);
        std::vector<int> one(d), other(d);
        for (int axis = 0; axis <= d; ++axis)
            for (int row = 0; row < rows_; ++row) {
                for (int i = 0; i < d; ++i) {
                    const int here = keys_[size_t(row) * d + i];
                    one[i] = i == axis ? here + d : here - 1;
                    other[i] = i == axis ? here - d : here + 1;
                }
                neighbours_[(size_t(axis) * rows_ + row) * 2] = find(one.data(), false);
                neighbours_[(size_t(axis) * rows_ + row) * 2 + 1] = find(other.data(), false);
            }
    }

    void filter(const float* in, float* out, int channels) const {
        std::vector<float> table(size_t(rows_ + 1) * channels), blurred(table.size());
        for (int p = 0; p < points_; ++p)
            for (int r = 0; r <= d_; ++r) {
                const size_t at = size_t(p) * (d_ + 1) + r;
                float* const to = &table[size_t(vertices_[at] + 1) * channels];
                for (int c = 0; c < channels; ++c) to[c] += weights_[at] * in[size_t(p) * channels + c];
            }
        for (int axis = 0; axis <= d_; ++axis) {
            for (int row = 0; row < rows_; ++row) {
                const int* const links = &neighbours_[(size_t(axis) * rows_ + row) * 2];
                const float *const one = &table[size_t(links[0] + 1) * channels],
                                   *const other = &table[size_t(links[1] + 1) * channels];
                for (int c = 0; c < channels; ++c)
                    blurred[size_t(row + 1) * channels + c] = table[size_t(row + 1) * channels + c] + 0.5f * (one[c] + other[c]);
            }
            table.swap(blurred);
        }
        const float scale = 1 / (1 + std::pow(2.0f, -float(d_)));
        for (int p = 0; p < points_; ++p) {
            float* const to = out + size_t(p) * channels;
            for (int c = 0; c < channels; ++c) to[c] = 0;
            for (int r = 0; r <= d_; ++r) {
                const size_t at = size_t(p) * (d_ + 1) + r;
                const float* const from = &table[size_t(vertices_[at] + 1) * channels];
                for (int c = 0; c < channels; ++c) to[c] += scale * weights_[at] * from[c];
            }
        }
    }

private:
    int find(const int* key, bool create) {
        if (create && (keys_.size() / d_ + 1) * 2 > slots_.size()) {
            slots_.assign(slots_.size() * 2, -1);
            for (size_t row = 0; row < keys_.size() / d_; ++row) slots_[slot(&keys_[row * d_])] = int(row);
        }
        const size_t at = slot(key);
        if (slots_[at] < 0 && create) {
            slots_[at] = int(keys_.size() / d_);
            keys_.insert(keys_.end(), key, key + d_);
        }
        return slots_[at];
    }

    size_t slot(const int* key) const {
        uint64_t hash = 0;
        for (int i = 0; i < d_; ++i) hash = (hash + uint64_t(uint32_t(key[i]))) * 0x9E3779B97F4A7C15u;
        for (size_t at = (hash >> 20) & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1))
            if (slots_[at] < 0 || std::memcmp(&keys_[size_t(slots_[at]) * d_], key, sizeof(int) * d_) == 0) return at;
    }

    int d_, points_, rows_ = 0;
    std::vector<int> vertices_, neighbours_, keys_, slots_;
    std::vector<float> weights_;
};

void softmax(std::vector<float>& rows, int labels) {
    for (size_t p = 0; p < rows.size(); p += labels) {
        float top = rows[p], sum = 0;
        for (int c = 1; c < labels; ++c) top = std::max(top, rows[p + c]);
        for (int c = 0; c < labels; ++c) sum += rows[p + c] = std::exp(rows[p + c] - top);
        for (int c = 0; c < labels; ++c) rows[p + c] /= sum;
    }
}

}  // namespace

// unary and marginals are (points, labels), image (height, width, 3).
extern "C" void textbook_crf(const float* unary, const uint8_t* image, int height, int width, int labels, float gamma,
                             float spatial_weight, float alpha, float beta, float bilateral_weight, int iterations,
                             float* marginals) {
    const int points = height * width;
    std::vector<float> places(size_t(points) * 2), colors(size_t(points) * 5);
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            const size_t p = size_t(y) * width + x;
            places[p * 2] = x / gamma, places[p * 2 + 1] = y / gamma;
            colors[p * 5] = x / alpha, colors[p * 5 + 1] = y / alpha;
            for (int c = 0; c < 3; ++c) colors[p * 5 + 2 + c] = image[p * 3 + c] / beta;
        }
    const Lattice lattices[2] = {Lattice(places, 2, points), Lattice(colors, 5, points)};
    const float weights[2] = {spatial_weight, bilateral_weight};
    std::vector<float> norms[2];
    for (int k = 0; k < 2; ++k) {
        norms[k].resize(points);
        lattices[k].filter(std::vector<float>(points, 1.0f).data(), norms[k].data(), 1);
        for (float& norm : norms[k]) norm = 1 / std::sqrt(norm + 1e-20f);
    }
    const size_t size = size_t(points) * labels;
    std::vector<float> q(size), next(size), scaled(size), message(size);
    for (size_t i = 0; i < size; ++i) q[i] = -unary[i];
    softmax(q, labels);
    for (int t = 0; t < iterations; ++t) {
        for (size_t i = 0; i < size; ++i) next[i] = -unary[i];
        for (int k = 0; k < 2; ++k) {
            for (size_t i = 0; i < size; ++i) scaled[i] = norms[k][i / labels] * q[i];
            lattices[k].filter(scaled.data(), message.data(), labels);
            for (size_t i = 0; i < size; ++i) next[i] += weights[k] * norms[k][i / labels] * message[i];
        }
        softmax(next, labels);
        q.swap(next);
    }
    std::memcpy(marginals, q.data(), size * sizeof(float));
}
