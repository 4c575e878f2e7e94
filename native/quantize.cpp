#include "quantize.h"

#include <cmath>
#include <cstring>

#include "half.h"

namespace sirocco {
namespace {

// To the nearest integer, ties to even, for numbers below 2^22: adding 1.5 · 2^23 leaves no room
// for a fraction. Unlike std::nearbyint it needs no call, so loops become vector instructions.
float nearest(float x) {
    constexpr float kShift = 12582912.0f;
    return (x + kShift) - kShift;
}

float sum_of_eight(const float* x) {
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
}

struct Rounded {
    std::uint16_t scale = 0;
    int values[kGroup] = {};  // signed
    float error = 0.0f;
};

// What comes of a group when its integers are those of x / scale.
Rounded round_with(const float* x, float scale, int lowest, int highest) {
    Rounded rounded;
    const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    float values[kGroup], product[8] = {}, square[8] = {}, error[8] = {};
    for (std::size_t i = 0; i < kGroup; ++i) {
        float value = x[i] * inverse;
        value = value < float(lowest) ? float(lowest) : value;
        value = value > float(highest) ? float(highest) : value;
        values[i] = nearest(value);
    }
    for (std::size_t i = 0; i < kGroup; ++i) {
        product[i % 8] += x[i] * values[i];
        square[i % 8] += values[i] * values[i];
    }
    // The best scale for these integers: least squares.
    const float squares = sum_of_eight(square);
    rounded.scale = half_from_float(squares > 0.0f ? sum_of_eight(product) / squares : 0.0f);
    const float kept = float_from_half(rounded.scale);
    for (std::size_t i = 0; i < kGroup; ++i) {
        const float difference = x[i] - kept * values[i];
        error[i % 8] += difference * difference;
        rounded.values[i] = int(values[i]);
    }
    rounded.error = sum_of_eight(error);
    return rounded;
}

// The number of largest magnitude, with its sign.
float extreme(const float* x) {
    float most = 0.0f;
    for (std::size_t i = 0; i < kGroup; ++i)
        if (std::fabs(x[i]) > std::fabs(most)) most = x[i];
    return most;
}

Rounded best_4bit(const float* x) {
    // Integers go from -8 to 7. The extreme weight takes the side that has one number more, and
    // comes to rest somewhere between -7.2 and -9.2 (where -8 stands for it): six places are tried.
    const float most = extreme(x);
    Rounded best = round_with(x, most / -7.2f, -8, 7);
    for (int step = 1; step <= 5; ++step) {
        const Rounded other = round_with(x, most / (-7.2f - 0.4f * float(step)), -8, 7);
        if (other.error < best.error) best = other;
    }
    return best;
}

Rounded best_8bit(const float* x) {
    return round_with(x, std::fabs(extreme(x)) / 127.0f, -127, 127);
}

void store(const Rounded& group, int bits, std::size_t row, std::uint8_t* tile) {
    for (std::size_t column = 0; column < kGroup; ++column) {
        const std::size_t four = column / 4, i = column % 4;
        if (bits == 8)
            tile[64 * four + 4 * row + i] = std::uint8_t(group.values[column] + 128);
        else
            tile[64 * (four / 2) + 4 * row + i] |=
                std::uint8_t((group.values[column] + 8) << (four % 2 ? 4 : 0));
    }
}

}  // namespace

void quantize_stripe(const float* weights, std::size_t n_rows, std::size_t n_columns, int bits,
                     std::size_t stripe, std::uint8_t* tiles, std::uint16_t* scales) {
    const QuantizedMatrix w{bits, n_rows, n_columns, tiles, scales};
    const std::size_t n_groups = w.n_groups();
    tiles += stripe * n_groups * w.tile_bytes();
    scales += stripe * n_groups * kTileRows;
    std::memset(tiles, 0, n_groups * w.tile_bytes());
    for (std::size_t r = 0; r < kTileRows; ++r) {
        const std::size_t row = stripe * kTileRows + r;
        for (std::size_t g = 0; g < n_groups; ++g) {
            Rounded group;
            if (row < n_rows) {
                const float* x = weights + row * n_columns + g * kGroup;
                group = bits == 4 ? best_4bit(x) : best_8bit(x);
            }
            store(group, bits, r, tiles + g * w.tile_bytes());
            scales[g * kTileRows + r] = group.scale;
        }
    }
}

void dequantize_row(const QuantizedMatrix& w, std::size_t row, float* out) {
    const std::size_t stripe = row / kTileRows, r = row % kTileRows;
    const std::uint8_t* tile = w.tiles + stripe * w.n_groups() * w.tile_bytes();
    const std::uint16_t* scales = w.scales + stripe * w.n_groups() * kTileRows;
    for (std::size_t g = 0; g < w.n_groups(); ++g, tile += w.tile_bytes()) {
        const float scale = float_from_half(scales[g * kTileRows + r]);
        for (std::size_t column = 0; column < kGroup; ++column) {
            const std::size_t four = column / 4, i = column % 4;
            const int value = w.bits == 8 ? tile[64 * four + 4 * r + i]
                              : four % 2  ? tile[64 * (four / 2) + 4 * r + i] >> 4
                                          : tile[64 * (four / 2) + 4 * r + i] & 15;
            *out++ = scale * float(value - w.offset());
        }
    }
}

}  // namespace sirocco
