// The definition, in plain C++: any processor, and the judge of the others.
#include <cmath>

#include "half.h"
#include "linear.h"

namespace sirocco {
namespace {

int unsigned_weight(const std::uint8_t* tile, int bits, std::size_t row, std::size_t column) {
    const std::size_t four = column / 4, i = column % 4;
    if (bits == 8) return tile[64 * four + 4 * row + i];
    const std::uint8_t both = tile[64 * (four / 2) + 4 * row + i];
    return four % 2 ? both >> 4 : both & 15;
}

}  // namespace

void quantize_row_scalar(const float* x, const QuantizedRows& rows, std::size_t row) {
    const std::size_t n_groups = rows.n_columns / kGroup, height = rows.height(row);
    std::size_t group = rows.first_group(row);
    x += row * rows.n_columns;
    for (std::size_t g = 0; g < n_groups; ++g, x += kGroup, group += height) {
        float largest = 0.0f, nothing = 0.0f;  // nothing: 0, or NaN if a number is not finite
        for (std::size_t i = 0; i < kGroup; ++i) {
            if (std::fabs(x[i]) > largest) largest = std::fabs(x[i]);
            nothing += x[i] - x[i];
        }
        const bool is_sound = nothing == 0.0f;
        const float inverse = largest > 0.0f && is_sound ? 127.0f / largest : 0.0f;
        std::int8_t* values = rows.values + group * kGroup;
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < kGroup; ++i) {
            values[i] = is_sound ? std::int8_t(std::nearbyint(x[i] * inverse)) : 0;
            sum += values[i];
        }
        rows.scales[group] = largest / 127.0f + nothing;
        rows.sums[group] = sum;
    }
}

void linear_stripe_scalar(const QuantizedMatrix& w, std::size_t stripe, const QuantizedRows& x,
                          std::size_t first, std::size_t last, const Output& out) {
    const std::size_t n_groups = w.n_groups();
    const std::uint8_t* tiles = w.tiles + stripe * n_groups * w.tile_bytes();
    const std::uint16_t* scales = w.scales + stripe * n_groups * kTileRows;
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t r = 0; r < kTileRows && stripe * kTileRows + r < w.n_rows; ++r) {
            float sum = 0.0f;
            std::size_t group = x.first_group(row);
            for (std::size_t g = 0; g < n_groups; ++g, group += x.height(row)) {
                const std::int8_t* values = x.values + group * kGroup;
                std::int32_t products = -w.offset() * x.sums[group];
                for (std::size_t k = 0; k < kGroup; ++k)
                    products +=
                        unsigned_weight(tiles + g * w.tile_bytes(), w.bits, r, k) * values[k];
                const float scaled = float(products) * x.scales[group];
                sum = std::fma(scaled, float_from_half(scales[g * kTileRows + r]), sum);
            }
            float& result = out.values[row * w.n_rows + stripe * kTileRows + r];
            result = out.adds ? result + sum : sum;
        }
    }
}

}  // namespace sirocco
