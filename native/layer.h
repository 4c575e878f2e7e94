// The layers of the network: what model/layers.py does with a kernel at a time.
//
// A token takes so little time that coming back to Python for each kernel would cost a fifth of it,
// and for each layer a twentieth: the weights that were read meanwhile have driven the interpreter
// out of the caches. The kernels are the same, and so are the bits.
#pragma once

#include <cstddef>

#include "attention.h"
#include "isa.h"
#include "step.h"

namespace sirocco {

struct LayerWeights {
    const float* attention_norm;     // [dim]
    const float* feed_forward_norm;  // [dim]
    float eps;
    std::size_t n_heads;
    AnyMatrix wq, wk, wv, wo, w1, w2, w3;
};

// x: [n_rows, dim], the residual stream, changed in place; cosine, sine: [n_rows, D / 2].
void run_layer(const LayerWeights& w, float* x, std::size_t n_rows, const float* cosine,
               const float* sine, const KvLayer& kv, const AttentionPlan& plan, const Isa& isa);

}  // namespace sirocco
