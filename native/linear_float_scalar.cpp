// The definition, in plain C++, and how weights get into panels and out of them.
#include <cmath>

#include "linear_float.h"

namespace sirocco {

void add_panel_run_scalar(const PanelRun& run, float* sums) {
    for (std::size_t row = 0; row < run.n_rows; ++row, sums += kPanelRows)
        for (std::size_t k = 0; k < run.n_columns; ++k)
            for (std::size_t r = 0; r < kPanelRows; ++r)
                sums[r] = std::fma(run.x[row * run.stride + k], run.weights[k * kPanelRows + r],
                                   sums[r]);
}

void pack_panel(const float* weights, std::size_t n_rows, std::size_t n_columns, std::size_t panel,
                float* panels) {
    const std::size_t first = panel * kPanelRows;
    float* out = panels + first * n_columns;
    for (std::size_t k = 0; k < n_columns; ++k, out += kPanelRows)
        for (std::size_t r = 0; r < kPanelRows; ++r)
            out[r] = first + r < n_rows ? weights[(first + r) * n_columns + k] : 0.0f;
}

void unpack_row(const FloatMatrix& w, std::size_t row, float* out) {
    const float* column = w.panels + row / kPanelRows * w.panel_numbers() + row % kPanelRows;
    for (std::size_t k = 0; k < w.n_columns; ++k) out[k] = column[k * kPanelRows];
}

}  // namespace sirocco
