// Compatibility energies over rows of labels: applied to messages, and their gradients.
#pragma once

#include <cstring>

#include "base/memory.h"
#include "base/owned.h"
#include "base/vectors.h"
#include "crf/field_limits.h"
#include "densefield.h"

namespace densefield::DF_TARGET {
namespace {

class FieldTerms {
public:
    DF_NOINLINE FieldTerms(const df_mean_field_job& field, bool back, int64_t stride)
        : f_(field), back_(back), stride_(stride) {
        for (int32_t m = 0; m < f_.n_terms; ++m) {
            const df_field_term& term = f_.terms[m];
            const int64_t lists = term.kind == 2 ? f_.labels : 1;
            energies_[m].take(lists * stride);
            std::memset(energies_[m].data(), 0, static_cast<size_t>(lists * stride) * sizeof(float));
            for (int64_t a = 0; a < lists; ++a)
                for (int64_t b = 0; b < f_.labels; ++b)
                    energies_[m][a * stride + b] = -term.energies[term.kind == 0 ? 0 : a * f_.labels + b];
        }
    }

    bool wants_gradient(int32_t m) const { return back_ && f_.terms[m].gradient != nullptr; }
    bool plain(int32_t m) const { return f_.terms[m].kind == 0 && !wants_gradient(m); }  // a factor and no more
    float factor(int32_t m) const { return energies_[m][0]; }

    // acc += -mu_m message, along a line of points
    DF_NOINLINE void apply(int32_t m, const float* message, int64_t count, float* acc) const {
        const float* const energies = energies_[m].data();  // their negatives
        if (f_.terms[m].kind == 0) {
            const float factor = energies[0];
            for (int64_t i = 0; i < count * stride_; ++i) acc[i] += factor * message[i];
        } else if (f_.terms[m].kind == 1) {
            for (int64_t x = 0; x < count; ++x)
                for (int64_t c = 0; c < stride_; ++c) acc[x * stride_ + c] += energies[c] * message[x * stride_ + c];
        } else {
            for (int64_t x = 0; x < count; ++x)
                for (int64_t a = 0; a < f_.labels; ++a)
                    for (int64_t c = 0; c < stride_; ++c) acc[x * stride_ + c] += energies[a * stride_ + c] * message[x * stride_ + a];
        }
    }

    // Gradients by the energies: -sum_i message_i q_i, gathered a band of tiles at a time so that threads do not matter.
    DF_NOINLINE int64_t gradient_count() const {
        int64_t count = 0;
        for (int32_t m = 0; m < f_.n_terms; ++m) count += gradient_size(m);
        return count;
    }

    DF_NOINLINE void gather(int32_t m, const float* message, const float* q, int64_t count, double* sums) const {
        for (int32_t before = 0; before < m; ++before) sums += gradient_size(before);
        const int32_t kind = f_.terms[m].kind;
        const int64_t size = kind == 2 ? f_.labels * f_.labels : stride_;
        Buffer<float> partial(size);
        std::memset(partial.data(), 0, static_cast<size_t>(size) * sizeof(float));
        for (int64_t x = 0; x < count; ++x, message += stride_, q += stride_) {
            if (kind == 2) {
                for (int64_t a = 0; a < f_.labels; ++a)
                    for (int64_t b = 0; b < f_.labels; ++b) partial[a * f_.labels + b] += message[a] * q[b];
            } else {
                for (int64_t c = 0; c < stride_; ++c) partial[c] += message[c] * q[c];
            }
        }
        for (int64_t i = 0; i < (kind == 2 ? size : f_.labels); ++i) sums[kind == 0 ? 0 : i] -= partial[i];
    }

    DF_NOINLINE void add_gradients(const double* sums, int64_t bands) const {
        const int64_t stride = gradient_count();
        for (int32_t m = 0; m < f_.n_terms; sums += gradient_size(m), ++m)
            if (f_.terms[m].gradient != nullptr)
                for (int64_t band = 0; band < bands; ++band)
                    for (int64_t i = 0; i < gradient_size(m); ++i) f_.terms[m].gradient[i] += sums[band * stride + i];
    }

private:
    int64_t gradient_size(int32_t m) const {
        const int32_t kind = f_.terms[m].kind;
        return kind == 0 ? 1 : kind == 1 ? f_.labels : f_.labels * f_.labels;
    }

    const df_mean_field_job& f_;
    const bool back_;
    const int64_t stride_;
    Owned<float> energies_[most_terms];
};

}  // namespace
}  // namespace densefield::DF_TARGET
