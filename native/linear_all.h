// Linear layers over all rows of a step, on all threads: one function for each kind of matrix.
#pragma once

#include <cstddef>
#include <vector>

#include "isa.h"
#include "linear.h"
#include "linear_float.h"

namespace sirocco {

// A matrix, and where its product with x goes: [n_rows of x, n_rows of the matrix].
template <typename MatrixOf>
struct Product {
    const MatrixOf* matrix;
    float* out;
};

// out = x Wᵀ, or += with `adds`, for each product; x: [n_rows, n_columns].
void multiply_rounded(const float* x, std::size_t n_rows, std::size_t n_columns,
                      const std::vector<Product<QuantizedMatrix>>& products, bool adds,
                      const Isa& isa);
void multiply_floats(const float* x, std::size_t n_rows,
                     const std::vector<Product<FloatMatrix>>& products, bool adds,
                     const Isa& isa);

}  // namespace sirocco
