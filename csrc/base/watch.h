// Where a run's time goes: seconds added up by phase, for the benchmark. A null pointer measures nothing.
#pragma once

namespace densefield {

enum Phase { phase_begin, phase_splat, phase_blur, phase_slice, phase_grid_lines, phase_grid_columns, phase_softmax, phase_end };

double seconds_now();

namespace {

class Watch {
public:
    explicit Watch(double* sums) : sums_(sums), last_(sums != nullptr ? seconds_now() : 0.0) {}
    void lap(Phase phase) {  // what has passed since the last lap was this phase
        if (sums_ == nullptr) return;
        const double now = seconds_now();
        sums_[phase] += now - last_;
        last_ = now;
    }

private:
    double* sums_;
    double last_;
};

}  // namespace
}  // namespace densefield
