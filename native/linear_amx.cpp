// Low-bit linear layers with AMX: one instruction multiplies 16 rows of activations with a tile of
// weights. Compiled with its own flags; what is said in rms_norm_avx2.cpp holds here, too.
//
// While the tiles multiply, AVX-512 scales what they gave before: that takes twice as long, so the
// loop over groups starts a product two groups ahead and stores it one group ahead.
#include <immintrin.h>

#include "linear.h"

namespace sirocco {
namespace {

// Fewer rows of activations than this are faster without tiles.
constexpr std::size_t kFewestRows = 5;
// Groups whose weights are unpacked at a time, so that they stay in the first cache.
constexpr std::size_t kChunk = 32;
// Groups that are unpacked before the multiplier wants them.
constexpr std::size_t kAhead = 6;
// Rows of activations that share an unpacked chunk.
constexpr std::size_t kRowsAtOnce = 64;

constexpr std::size_t kSignedTile = kTileRows * kGroup;

// gcc's intrinsics do not say that they read memory; this keeps stores before them.
void finish_stores() { asm volatile("" ::: "memory"); }

// Products (tiles 0 and 1) and activations (2 and 3) of `height` rows, weights (4 and 5).
void configure_tiles(std::size_t height) {
    struct alignas(64) {
        std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
        std::uint16_t row_bytes[16] = {64, 64, kGroup, kGroup, 64, 64};
        std::uint8_t rows[16] = {0, 0, 0, 0, kGroup / 4, kGroup / 4};
    } config;
    for (std::size_t tile = 0; tile < 4; ++tile) config.rows[tile] = std::uint8_t(height);
    asm volatile("ldtilecfg %0" ::"m"(config));
}

// Weights of a group as signed bytes, in the order that the multiplier wants.
template <int bits>
void unpack(const std::uint8_t* tile, std::int8_t* out) {
    if constexpr (bits == 8) {
        const __m512i flip = _mm512_set1_epi8(char(0x80));  // u - 128
        for (std::size_t four = 0; four < 8; ++four)
            _mm512_store_si512(out + 64 * four,
                               _mm512_xor_si512(_mm512_loadu_si512(tile + 64 * four), flip));
    } else {
        const __m512i low_half = _mm512_set1_epi8(15), offset = _mm512_set1_epi8(8);
        for (std::size_t pair = 0; pair < 4; ++pair) {
            const __m512i both = _mm512_loadu_si512(tile + 64 * pair);
            const __m512i even = _mm512_and_si512(both, low_half);
            const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(both, 4), low_half);
            _mm512_store_si512(out + 128 * pair, _mm512_sub_epi8(even, offset));
            _mm512_store_si512(out + 128 * pair + 64, _mm512_sub_epi8(odd, offset));
        }
    }
}

// A run of groups: packed weights, room for them as signed bytes, their scales, a block of
// activations.
struct Run {
    const std::uint8_t* tiles;
    std::int8_t* weights;
    const std::uint16_t* weight_scales;
    const std::int8_t* values;
    const float* scales;
    std::size_t n_groups, height;
};

// Unpack the weights of a group, if this block of activations is the first that needs them; with
// few blocks the multipliers wait for weights, so those further on are fetched.
template <int bits>
void prepare(const Run& run, std::size_t g) {
    if constexpr (bits != 0) {
        if (g >= run.n_groups) return;
        constexpr std::size_t tile_bytes = kSignedTile * bits / 8;
        const std::uint8_t* tile = run.tiles + g * tile_bytes;
        for (std::size_t i = 0; i < tile_bytes; i += 64)
            _mm_prefetch(reinterpret_cast<const char*>(tile) + 2048 + i, _MM_HINT_T0);
        unpack<bits>(tile, run.weights + g * kSignedTile);
        finish_stores();
    }
}

template <int slot>
void start_product(const Run& run, std::size_t g) {
    const std::int8_t* values = run.values + g * run.height * kGroup;
    const std::int8_t* weights = run.weights + g * kSignedTile;
    if constexpr (slot == 0) {
        _tile_loadd(4, weights, 64);
        _tile_loadd(2, values, kGroup);
        _tile_zero(0);
        _tile_dpbssd(0, 2, 4);
    } else {
        _tile_loadd(5, weights, 64);
        _tile_loadd(3, values, kGroup);
        _tile_zero(1);
        _tile_dpbssd(1, 3, 5);
    }
}

// Products of one group, [16 rows of x][16 rows of w].
struct alignas(64) Products {
    std::int32_t sums[kTileRows][kTileRows];
};

template <int slot>
void store_product(Products& products) {
    if constexpr (slot == 0)
        _tile_stored(0, products.sums, 64);
    else
        _tile_stored(1, products.sums, 64);
}

template <std::size_t M>
void scale(const Run& run, std::size_t g, const Products& products, __m512* results) {
    const __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256(
        reinterpret_cast<const __m256i*>(run.weight_scales + g * kTileRows)));
    const float* scales = run.scales + g * run.height;
#pragma GCC unroll 16
    for (std::size_t m = 0; m < M; ++m) {
        const __m512 sums = _mm512_cvtepi32_ps(_mm512_load_si512(products.sums[m]));
        results[m] =
            _mm512_fmadd_ps(_mm512_mul_ps(sums, _mm512_set1_ps(scales[m])), d, results[m]);
    }
}

// Add a run of groups to sums [M][16], or set them.
template <int bits, std::size_t M>
void add_run(const Run& run, Products* products, float* sums, bool adds) {
    const std::size_t n = run.n_groups;
    __m512 results[M];
#pragma GCC unroll 16
    for (std::size_t m = 0; m < M; ++m)
        results[m] = adds ? _mm512_load_ps(sums + m * kTileRows) : _mm512_setzero_ps();
    for (std::size_t g = 0; g < kAhead; ++g) prepare<bits>(run, g);
    start_product<0>(run, 0);
    if (n > 1) start_product<1>(run, 1);
    store_product<0>(products[0]);
    if (n > 2) start_product<0>(run, 2);
    for (std::size_t g = 0;; g += 2) {
        prepare<bits>(run, g + kAhead);
        if (g + 1 < n) store_product<1>(products[1]);
        if (g + 3 < n) start_product<1>(run, g + 3);
        scale<M>(run, g, products[0], results);
        if (g + 1 >= n) break;
        prepare<bits>(run, g + kAhead + 1);
        if (g + 2 < n) store_product<0>(products[0]);
        if (g + 4 < n) start_product<0>(run, g + 4);
        scale<M>(run, g + 1, products[1], results);
        if (g + 2 >= n) break;
    }
#pragma GCC unroll 16
    for (std::size_t m = 0; m < M; ++m) _mm512_store_ps(sums + m * kTileRows, results[m]);
}

template <int bits>
void add_run(const Run& run, Products* products, float* sums, bool adds) {
    if (run.height > 12)
        add_run<bits, 16>(run, products, sums, adds);
    else if (run.height > 8)
        add_run<bits, 12>(run, products, sums, adds);
    else if (run.height > 4)
        add_run<bits, 8>(run, products, sums, adds);
    else
        add_run<bits, 4>(run, products, sums, adds);
}

struct Stripe {
    const std::uint8_t* tiles;
    const std::uint16_t* scales;
    std::size_t n_groups, n_rows;
};

// Sums of up to 64 rows of x, [row][16].
template <int bits>
void compute(const Stripe& w, const QuantizedRows& x, std::size_t first, std::size_t last,
             float* sums) {
    alignas(64) std::int8_t weights[kChunk * kSignedTile];
    Products products[2] = {};
    std::size_t configured = 0;
    for (std::size_t g = 0; g < w.n_groups; g += kChunk) {
        const std::size_t n = w.n_groups - g < kChunk ? w.n_groups - g : kChunk;
        for (std::size_t row = first; row < last; row += kTileRows) {
            const std::size_t height = x.height(row), group = x.first_group(row) + g * height;
            if (height != configured) configure_tiles(configured = height);
            const Run run{w.tiles + g * kSignedTile * bits / 8, weights,
                          w.scales + g * kTileRows, x.values + group * kGroup, x.scales + group,
                          n, height};
            float* of_block = sums + (row - first) * kTileRows;
            if (row == first)
                add_run<bits>(run, products, of_block, g > 0);
            else
                add_run<0>(run, products, of_block, g > 0);
        }
    }
    _tile_release();
}

void write(const float* sums, std::size_t n_rows, const Stripe& w, float* columns,
           std::size_t stride, bool adds) {
    const __mmask16 is_row = __mmask16((1u << w.n_rows) - 1);
    for (std::size_t row = 0; row < n_rows; ++row, sums += kTileRows, columns += stride) {
        __m512 result = _mm512_load_ps(sums);
        if (adds) result = _mm512_add_ps(_mm512_maskz_loadu_ps(is_row, columns), result);
        _mm512_mask_storeu_ps(columns, is_row, result);
    }
}

}  // namespace

void linear_stripe_amx(const QuantizedMatrix& w, std::size_t stripe, const QuantizedRows& x,
                       std::size_t first, std::size_t last, const Output& out) {
    if (last - first < kFewestRows) return linear_stripe_avx512_vnni(w, stripe, x, first, last, out);
    const std::size_t left = w.n_rows - stripe * kTileRows;
    const Stripe part{w.tiles + stripe * w.n_groups() * w.tile_bytes(),
                      w.scales + stripe * w.n_groups() * kTileRows, w.n_groups(),
                      left < kTileRows ? left : kTileRows};
    alignas(64) float sums[kRowsAtOnce * kTileRows];
    for (std::size_t row = first; row < last; row += kRowsAtOnce) {
        const std::size_t end = last - row < kRowsAtOnce ? last : row + kRowsAtOnce;
        if (w.bits == 4)
            compute<4>(part, x, row, end, sums);
        else
            compute<8>(part, x, row, end, sums);
        write(sums, end - row, part, out.values + row * w.n_rows + stripe * kTileRows, w.n_rows,
              out.adds);
    }
}

}  // namespace sirocco
