// From float weights to the tiles of linear.h, and back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "linear.h"

namespace sirocco {

// Round the 16 rows of one stripe of weights [n_rows, n_columns] into tiles and scales.
//
// The scale of a group is not taken from its largest weight alone: a few candidates around it
// are tried, each improved by least squares for the integers it leads to, and the one with the
// smallest squared error stays. It costs nothing when the weights are used.
void quantize_stripe(const float* weights, std::size_t n_rows, std::size_t n_columns, int bits,
                     std::size_t stripe, std::uint8_t* tiles, std::uint16_t* scales);

// Write row `row` of the matrix as n_columns floats.
void dequantize_row(const QuantizedMatrix& w, std::size_t row, float* out);

}  // namespace sirocco
