// RMSNorm of a matrix, row by row: out = weight * (x / sqrt(mean(x * x) + eps)).
//
// A row's result depends on that row and the weight alone, in the same order of additions
// whatever stands in other rows: an answer never changes with its batch mates.
// Source: Zhang & Sennrich 2019.
#pragma once

#include <cstddef>

namespace sirocco {

// x, out: [n_rows, dim]; weight: [dim]; all contiguous float32. out may be x.
using RmsNorm = void (*)(const float* x, const float* weight, float eps, float* out,
                         std::size_t n_rows, std::size_t dim);

void rms_norm_scalar(const float* x, const float* weight, float eps, float* out,
                     std::size_t n_rows, std::size_t dim);

// Needs avx2 and fma; the caller has asked cpu_features().
void rms_norm_avx2(const float* x, const float* weight, float eps, float* out,
                   std::size_t n_rows, std::size_t dim);

}  // namespace sirocco
