// Linear layers of float32 weights: out = x Wᵀ, with the same bits however many rows x has.
//
// A library chooses its order of additions by the shape of the whole product, so that a row's last
// bits depend on the rows beside it. Here a result is one chain,
//
//   sum = fma(x[k], w[k], sum) for k = 0 … K-1 in order, from sum = 0
//
// for any number of rows, any instruction set and any number of threads. Vectors hold neighbouring
// results, never parts of one sum.
//
// W [N, K] lies in panels of 32 rows, column by column, as [⌈N/32⌉][K][32]; rows beyond N are zero.
#pragma once

#include <cstddef>

namespace sirocco {

constexpr std::size_t kPanelRows = 32;

struct FloatMatrix {
    std::size_t n_rows, n_columns;
    const float* panels;

    std::size_t n_panels() const { return (n_rows + kPanelRows - 1) / kPanelRows; }
    std::size_t panel_numbers() const { return n_columns * kPanelRows; }
};

// A run of columns of a panel, and of rows of x.
struct PanelRun {
    const float* weights;  // [n_columns][32]
    const float* x;        // rows lie `stride` numbers apart
    std::size_t n_columns, n_rows, stride;
    const float* next;  // weights of the next run
};

// Go on with the chains of a run's sums [n_rows][32], which lie at a multiple of 64 bytes.
using AddPanelRun = void (*)(const PanelRun& run, float* sums);

void add_panel_run_scalar(const PanelRun& run, float* sums);
void add_panel_run_avx2(const PanelRun& run, float* sums);    // needs avx2 and fma
void add_panel_run_avx512(const PanelRun& run, float* sums);  // needs avx512

// Put rows 32·panel … of weights [n_rows, n_columns] into their panel of `panels`.
void pack_panel(const float* weights, std::size_t n_rows, std::size_t n_columns, std::size_t panel,
                float* panels);

// Row `row` of the matrix, end to end.
void unpack_row(const FloatMatrix& w, std::size_t row, float* out);

}  // namespace sirocco
