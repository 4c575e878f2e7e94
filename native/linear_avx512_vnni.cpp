// Low-bit linear layers with AVX-512 VNNI: one instruction multiplies 16 rows × 4 columns.
// Compiled with its own flags; what is said in rms_norm_avx2.cpp about inline functions holds here.
#include <immintrin.h>

#include "linear.h"

namespace sirocco {
namespace {

// Rows of x that are computed together: each weight is unpacked once for all of them.
constexpr std::size_t kTogether = 8;

struct Stripe {
    const std::uint8_t* tiles;
    const std::uint16_t* scales;
    std::size_t n_groups;
    int offset;
    __mmask16 is_row;  // rows of the matrix, not of its padding
};

__m512i four_activations(const std::int8_t* values) {
    return _mm512_set1_epi32(*reinterpret_cast<const int*>(values));
}

// An addition waits for the one before it. Few rows of activations would leave the multipliers
// idle, so each row gets several sums, which are added up in the end: integers, so nothing is lost.
template <std::size_t M>
constexpr std::size_t kChains = M >= 4 ? 1 : 4 / M;

// Integer products of one group of 16 rows with M rows of activations, added to sums[m][0].
template <std::size_t M>
void multiply_4bit(const std::uint8_t* tile, const std::int8_t* x,
                   __m512i (*sums)[kChains<M>]) {
    const __m512i low_half = _mm512_set1_epi8(15);
    for (std::size_t pair = 0; pair < 4; ++pair) {
        const __m512i both = _mm512_loadu_si512(tile + 64 * pair);
        const __m512i even = _mm512_and_si512(both, low_half);
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(both, 4), low_half);
        for (std::size_t m = 0; m < M; ++m) {
            const std::int8_t* values = x + m * kGroup + 8 * pair;
            __m512i& a = sums[m][2 * pair % kChains<M>];
            a = _mm512_dpbusd_epi32(a, even, four_activations(values));
            __m512i& b = sums[m][(2 * pair + 1) % kChains<M>];
            b = _mm512_dpbusd_epi32(b, odd, four_activations(values + 4));
        }
    }
}

template <std::size_t M>
void multiply_8bit(const std::uint8_t* tile, const std::int8_t* x,
                   __m512i (*sums)[kChains<M>]) {
    for (std::size_t four = 0; four < 8; ++four) {
        const __m512i weights = _mm512_loadu_si512(tile + 64 * four);
        for (std::size_t m = 0; m < M; ++m) {
            __m512i& sum = sums[m][four % kChains<M>];
            sum = _mm512_dpbusd_epi32(sum, weights, four_activations(x + m * kGroup + 4 * four));
        }
    }
}

template <int bits, std::size_t M>
void compute(const Stripe& w, const QuantizedRows& x, std::size_t row, const Output& out,
             std::size_t out_stride) {
    constexpr std::size_t tile_bytes = kTileRows * kGroup * bits / 8;
    const std::size_t height = x.height(row);
    const std::int8_t* values = x.values + x.first_group(row) * kGroup;
    const float* scales = x.scales + x.first_group(row);
    const std::int32_t* value_sums = x.sums + x.first_group(row);
    __m512 results[M];
    for (std::size_t m = 0; m < M; ++m) results[m] = _mm512_setzero_ps();
    for (std::size_t g = 0; g < w.n_groups; ++g) {
        const std::uint8_t* tile = w.tiles + g * tile_bytes;
        fetch_ahead(tile, tile_bytes);
        __m512i sums[M][kChains<M>];
        for (std::size_t m = 0; m < M; ++m) {
            sums[m][0] = _mm512_set1_epi32(-w.offset * value_sums[g * height + m]);
            for (std::size_t c = 1; c < kChains<M>; ++c) sums[m][c] = _mm512_setzero_si512();
        }
        if constexpr (bits == 4)
            multiply_4bit<M>(tile, values + g * height * kGroup, sums);
        else
            multiply_8bit<M>(tile, values + g * height * kGroup, sums);
        const __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256(
            reinterpret_cast<const __m256i*>(w.scales + g * kTileRows)));
        for (std::size_t m = 0; m < M; ++m) {
            for (std::size_t c = 1; c < kChains<M>; ++c)
                sums[m][0] = _mm512_add_epi32(sums[m][0], sums[m][c]);
            const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[m][0]),
                                                _mm512_set1_ps(scales[g * height + m]));
            results[m] = _mm512_fmadd_ps(scaled, d, results[m]);
        }
    }
    for (std::size_t m = 0; m < M; ++m) {
        float* columns = out.values + (row + m) * out_stride;
        if (out.adds)
            results[m] = _mm512_add_ps(_mm512_maskz_loadu_ps(w.is_row, columns), results[m]);
        _mm512_mask_storeu_ps(columns, w.is_row, results[m]);
    }
}

// As many rows as are left, fewer than kTogether, in one pass over the weights.
template <int bits, std::size_t M>
void compute_rest(const Stripe& w, const QuantizedRows& x, std::size_t row, std::size_t n_left,
                  const Output& out, std::size_t out_stride) {
    if constexpr (M > 0) {
        if (n_left == M)
            compute<bits, M>(w, x, row, out, out_stride);
        else
            compute_rest<bits, M - 1>(w, x, row, n_left, out, out_stride);
    }
}

template <int bits>
void compute_all(const Stripe& w, const QuantizedRows& x, std::size_t first, std::size_t last,
                 const Output& out, std::size_t out_stride) {
    std::size_t row = first;
    for (; row + kTogether <= last; row += kTogether)
        compute<bits, kTogether>(w, x, row, out, out_stride);
    compute_rest<bits, kTogether - 1>(w, x, row, last - row, out, out_stride);
}

}  // namespace

void linear_stripe_avx512_vnni(const QuantizedMatrix& w, std::size_t stripe,
                               const QuantizedRows& x, std::size_t first, std::size_t last,
                               const Output& out) {
    const std::size_t left = w.n_rows - stripe * kTileRows;
    const Stripe part{
        w.tiles + stripe * w.n_groups() * w.tile_bytes(),
        w.scales + stripe * w.n_groups() * kTileRows, w.n_groups(), w.offset(),
        __mmask16(left >= kTileRows ? 0xFFFF : (1u << left) - 1)};
    const Output columns{out.values + stripe * kTileRows, out.adds};
    if (w.bits == 4)
        compute_all<4>(part, x, first, last, columns, w.n_rows);
    else
        compute_all<8>(part, x, first, last, columns, w.n_rows);
}

}  // namespace sirocco
