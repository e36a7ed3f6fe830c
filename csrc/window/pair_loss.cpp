// Distances are turned into losses and slopes while they are still in registers. Slopes of a plain hinge take a byte each.
#include "base/dispatch.h"
#include "densefield.h"
#include "window/pair_gradient.h"

namespace densefield {

template <class T>
struct Hinge {
    T alpha, beta;
    bool squared;
};

DF_DECLARE(void pair_loss(const Window& w, const df_pair_loss_job& job);)

namespace DF_TARGET {
namespace {

// Labels as a map of one channel of integers as wide as T; left_out beside the image.
template <class T>
constexpr Integer<T> left_out = INT32_MIN;

template <class T>
struct LossEpilogue {
    const Hinge<T>& hinge;
    const Integer<T>*const labels, *const outside;
    double* const loss;  // of the chunk: written once, for those of other chunks lie beside them
    int64_t* const count;
    double all_losses = 0;
    int64_t all_pairs = 0;
    Vector<T> sum = {};
    Integers<T> pairs = {}, own = {};
    const Integer<T>* own_row = nullptr;
    int64_t b = 0, y = 0, x = 0, stride = 0, height = 0, rate = 0;

    DF_INLINE void row(const Window& w, int64_t image, int64_t image_row, int64_t column) {
        b = image, y = image_row, x = column, stride = w.stride, height = w.height, rate = w.rate;
        own_row = labels + (b * height + y) * stride + x;
        own = load<Integers<T>>(own_row);
        sum = Vector<T>{};
        pairs = Integers<T>{};
    }

    DF_INLINE Vector<T> operator()(Vector<T> distance, int64_t dy, int64_t dx) {
        const Integer<T>* const there = y + dy * rate < height ? own_row + dy * rate * stride : outside + x;
        const Integers<T> other = load<Integers<T>>(there + dx * rate);
        const Integers<T> nobody = Integers<T>{} + left_out<T>;
        const Integers<T> counted = (own != nobody) & (other != nobody), same = own == other;
        const Vector<T> slope = same ? broadcast(T(1)) : broadcast(T(-1));
        const Vector<T> value = (distance - (same ? broadcast(hinge.alpha) : broadcast(hinge.beta))) * slope;
        const Integers<T> active = counted & reinterpret_cast<Integers<T>>(value > Vector<T>{});
        const Vector<T> kept = active ? value : Vector<T>{};
        pairs -= counted;
        sum += hinge.squared ? kept * kept * T(0.5) : kept;
        return active ? (hinge.squared ? value * slope : slope) : Vector<T>{};
    }

    DF_INLINE void end_row() {
        Integer<T> lane[lanes<T>];
        std::memcpy(lane, &pairs, sizeof(pairs));
        for (int i = 0; i < lanes<T>; ++i) all_pairs += lane[i];
        all_losses += static_cast<double>(total<T>(sum));
    }

    ~LossEpilogue() { *loss = all_losses, *count = all_pairs; }
};

template <class T>
class LabelMap {
public:
    LabelMap(const Window& w, const int32_t* labels)
        : map(w.batch * w.height * w.stride + 2 * w.lead), outside(w.stride + 2 * w.lead) {
        const int64_t rows = w.batch * w.height;
        for (int64_t i = 0; i < w.lead; ++i) map[i] = map[w.lead + rows * w.stride + i] = left_out<T>;
        for (int64_t i = 0; i < w.stride + 2 * w.lead; ++i) outside[i] = left_out<T>;
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t x = 0; x < w.stride; ++x)
                map[w.lead + row * w.stride + x] = x < w.width ? labels[row * w.width + x] : left_out<T>;
    }
    Buffer<Integer<T>> map, outside;
};

template <class T, class Stored>  // what slopes are stored as
void pair_loss_with(const Window& w, const df_pair_loss_job& job) {
    const PairKernels<T> kernels = pair_kernels<T>(job.distance);
    const T* const embeddings = static_cast<const T*>(job.embeddings);
    const Hinge<T> hinge{static_cast<T>(job.alpha), static_cast<T>(job.beta), job.squared != 0};
    const int n_threads = job.n_threads;
    const int64_t size = job.gradient != nullptr ? w.batch * w.height * w.planes * w.stride + 2 * w.lead : 0;
    Buffer<Stored> slopes(size);
    const LabelMap<T> labels(w, job.labels);
    const int64_t chunks = distance_chunks(w);
    Buffer<double> losses(chunks);
    Buffer<int64_t> counts(chunks);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) losses[chunk] = 0, counts[chunk] = 0;
    each_distance<T>(w, kernels, embeddings, job.channels, size > 0 ? slopes.data() : nullptr, n_threads,
                     [&](int64_t chunk) {
                         return LossEpilogue<T>{hinge, labels.map.data() + w.lead, labels.outside.data() + w.lead,
                                                &losses[chunk], &counts[chunk]};
                     });
    *job.loss = 0;
    *job.count = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) *job.loss += losses[chunk], *job.count += counts[chunk];
    if (*job.weight == 0) {
        const double counted = 2 * static_cast<double>(*job.count) + job.places;
        *job.weight = 1 / (counted > 1 ? counted : 1);
    }
    if (job.gradient == nullptr) return;
    const GradientCall<T, Stored> gradient{embeddings, slopes.data(), static_cast<T*>(job.gradient), job.channels,
                                           static_cast<T>(2 * *job.weight), nullptr};
    pair_gradient(w, kernels, gradient, nullptr, n_threads);
}

template <class T>
void pair_loss_of(const Window& w, const df_pair_loss_job& job) {
    job.squared ? pair_loss_with<T, T>(w, job) : pair_loss_with<T, int8_t>(w, job);  // slopes of -1, 0 and 1
}

}  // namespace

void pair_loss(const Window& w, const df_pair_loss_job& job) {
    job.type == DF_F32 ? pair_loss_of<float>(w, job) : pair_loss_of<double>(w, job);
}

}  // namespace DF_TARGET
}  // namespace densefield

#if defined(DF_ENTRY)
extern "C" int df_pair_loss(const df_pair_loss_job* job) {
    using namespace densefield;
    return with_window(*job, [job](const Window& w) { DF_DISPATCH(pair_loss(w, *job)); });
}
#endif
