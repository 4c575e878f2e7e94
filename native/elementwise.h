// What stands between the matrices of a layer, row by row: SwiGLU and rotary positions.
//
// A row's result depends on that row alone. The kernels are written once, in
// elementwise_kernels.h, and compiled for each instruction set.
#pragma once

#include <cstddef>

namespace sirocco {

// out = gate / (1 + exp(-gate)) * value; n numbers each, out may be gate. Source: Shazeer 2020.
using SwiGlu = void (*)(const float* gate, const float* value, float* out, std::size_t n);

// Turn every pair (x[i], x[i + d/2]) of n_heads vectors of d numbers by the angle of its position,
// given as cosine and sine [d/2]. Source: Su 2021 §3.2.2.
using Rotate = void (*)(float* x, const float* cosine, const float* sine, std::size_t n_heads,
                        std::size_t d);

void swiglu_scalar(const float* gate, const float* value, float* out, std::size_t n);
void rotate_scalar(float* x, const float* cosine, const float* sine, std::size_t n_heads,
                   std::size_t d);

// Need avx2 and fma.
void swiglu_avx2(const float* gate, const float* value, float* out, std::size_t n);
void rotate_avx2(float* x, const float* cosine, const float* sine, std::size_t n_heads,
                 std::size_t d);

// Needs avx512.
void swiglu_avx512(const float* gate, const float* value, float* out, std::size_t n);

}  // namespace sirocco
