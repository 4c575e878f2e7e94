// Kernels over all rows of a step, on all threads.
#pragma once

#include <cstddef>
#include <vector>

#include "isa.h"
#include "linear.h"
#include "linear_float.h"

namespace sirocco {

// A matrix of one of two kinds; the other pointer is null.
struct AnyMatrix {
    const QuantizedMatrix* rounded = nullptr;
    const FloatMatrix* floats = nullptr;

    std::size_t n_rows() const { return rounded ? rounded->n_rows : floats->n_rows; }
    std::size_t n_columns() const { return rounded ? rounded->n_columns : floats->n_columns; }
};

// outs[i] = x W_iᵀ, or += with `adds`, for each of the matrices; x: [n_rows, n_columns].
void linear_all(const float* x, std::size_t n_rows, std::size_t n_columns,
                const std::vector<AnyMatrix>& matrices, const std::vector<float*>& outs, bool adds,
                const Isa& isa);

// x, out: [n_rows, dim]; weight: [dim].
void norm_all(const float* x, const float* weight, float eps, float* out, std::size_t n_rows,
              std::size_t dim, const Isa& isa);

// gate, value, out: [n_rows, dim].
void swiglu_all(const float* gate, const float* value, float* out, std::size_t n_rows,
                std::size_t dim, const Isa& isa);

// x: [n_rows, n_heads, d], turned in place; cosine, sine: [n_rows, d / 2].
void rotate_all(float* x, const float* cosine, const float* sine, std::size_t n_rows,
                std::size_t n_heads, std::size_t d, const Isa& isa);

}  // namespace sirocco
