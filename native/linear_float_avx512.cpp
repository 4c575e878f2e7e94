// Float32 linear layers with AVX-512. Compiled with its own flags; what is said in
// rms_norm_avx2.cpp about inline functions holds here.
#include <immintrin.h>

#include "linear_float.h"

namespace sirocco {
namespace {

// Rows of x that are computed together: 24 sums in registers.
constexpr std::size_t kTogether = 12;

void fetch(const float* column) {
    _mm_prefetch(reinterpret_cast<const char*>(column), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(column + 16), _MM_HINT_T0);
}

template <std::size_t M>
void compute(const PanelRun& run, std::size_t row, float* sums) {
    const float* x = run.x + row * run.stride;
    const float* weights = run.weights;
    // With few rows a kernel waits for its weights; see linear_avx512_vnni.cpp.
    const float* wanted = M < 4 ? weights + 512 : run.next;
    sums += row * kPanelRows;
    __m512 low[M], high[M];
#pragma GCC unroll 12
    for (std::size_t m = 0; m < M; ++m) {
        low[m] = _mm512_load_ps(sums + m * kPanelRows);
        high[m] = _mm512_load_ps(sums + m * kPanelRows + 16);
    }
    for (std::size_t k = 0; k < run.n_columns; ++k, weights += kPanelRows) {
        fetch(wanted + k * kPanelRows);
        const __m512 w0 = _mm512_loadu_ps(weights), w1 = _mm512_loadu_ps(weights + 16);
#pragma GCC unroll 12
        for (std::size_t m = 0; m < M; ++m) {
            const __m512 value = _mm512_set1_ps(x[m * run.stride + k]);
            low[m] = _mm512_fmadd_ps(value, w0, low[m]);
            high[m] = _mm512_fmadd_ps(value, w1, high[m]);
        }
    }
#pragma GCC unroll 12
    for (std::size_t m = 0; m < M; ++m) {
        _mm512_store_ps(sums + m * kPanelRows, low[m]);
        _mm512_store_ps(sums + m * kPanelRows + 16, high[m]);
    }
}

}  // namespace

void add_panel_run_avx512(const PanelRun& run, float* sums) {
    std::size_t row = 0;
    for (; row + kTogether <= run.n_rows; row += kTogether) compute<kTogether>(run, row, sums);
    for (; row + 4 <= run.n_rows; row += 4) compute<4>(run, row, sums);
    for (; row + 2 <= run.n_rows; row += 2) compute<2>(run, row, sums);
    for (; row < run.n_rows; ++row) compute<1>(run, row, sums);
}

}  // namespace sirocco
