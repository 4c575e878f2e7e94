// Float32 linear layers with AVX2 and FMA. Compiled with its own flags; what is said in
// rms_norm_avx2.cpp about inline functions holds here.
#include <immintrin.h>

#include "linear_float.h"

namespace sirocco {
namespace {

// Rows of x that are computed together: 12 sums in registers.
constexpr std::size_t kTogether = 3;
// Registers that hold a column of a panel.
constexpr std::size_t kParts = kPanelRows / 8;

// With few rows of activations a kernel waits for its weights; see linear_avx512_vnni.cpp.
void fetch_ahead(const float* column) {
    _mm_prefetch(reinterpret_cast<const char*>(column) + 2048, _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(column) + 2112, _MM_HINT_T0);
}

template <std::size_t M>
void compute(const PanelRun& run, std::size_t row, float* sums) {
    const float* x = run.x + row * run.stride;
    const float* weights = run.weights;
    sums += row * kPanelRows;
    __m256 results[M][kParts];
    for (std::size_t m = 0; m < M; ++m)
        for (std::size_t i = 0; i < kParts; ++i)
            results[m][i] = _mm256_load_ps(sums + m * kPanelRows + 8 * i);
    for (std::size_t k = 0; k < run.n_columns; ++k, weights += kPanelRows) {
        if constexpr (M == 1) fetch_ahead(weights);
        __m256 values[M];
        for (std::size_t m = 0; m < M; ++m) values[m] = _mm256_set1_ps(x[m * run.stride + k]);
        for (std::size_t i = 0; i < kParts; ++i) {
            const __m256 part = _mm256_loadu_ps(weights + 8 * i);
            for (std::size_t m = 0; m < M; ++m)
                results[m][i] = _mm256_fmadd_ps(values[m], part, results[m][i]);
        }
    }
    for (std::size_t m = 0; m < M; ++m)
        for (std::size_t i = 0; i < kParts; ++i)
            _mm256_store_ps(sums + m * kPanelRows + 8 * i, results[m][i]);
}

}  // namespace

void add_panel_run_avx2(const PanelRun& run, float* sums) {
    std::size_t row = 0;
    for (; row + kTogether <= run.n_rows; row += kTogether) compute<kTogether>(run, row, sums);
    for (; row < run.n_rows; ++row) compute<1>(run, row, sums);
}

}  // namespace sirocco
