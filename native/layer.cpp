#include "layer.h"

#include <vector>

namespace sirocco {
namespace {

// Room for a step's activations, kept by its thread from layer to layer.
float* room(std::size_t which, std::size_t n_floats) {
    thread_local std::vector<float> rooms[6];
    if (rooms[which].size() < n_floats) rooms[which].resize(n_floats);
    return rooms[which].data();
}

}  // namespace

void run_layer(const LayerWeights& w, float* x, std::size_t n_rows, const float* cosine,
               const float* sine, const KvLayer& kv, const AttentionPlan& plan, const Isa& isa) {
    const std::size_t dim = w.wq.n_columns(), hidden = w.w1.n_rows(), d = kv.head_dim;
    const std::size_t q_dim = w.n_heads * d, kv_dim = kv.n_kv_heads * d;
    float* normed = room(0, n_rows * dim);
    float *q = room(1, n_rows * q_dim), *k = room(2, n_rows * kv_dim), *v = room(3, n_rows * kv_dim);
    norm_all(x, w.attention_norm, w.eps, normed, n_rows, dim, isa);
    linear_all(normed, n_rows, dim, {w.wq, w.wk, w.wv}, {q, k, v}, false, isa);
    rotate_all(q, cosine, sine, n_rows, w.n_heads, d, isa);
    rotate_all(k, cosine, sine, n_rows, kv.n_kv_heads, d, isa);
    float* attended = room(4, n_rows * (q_dim > hidden ? q_dim : hidden));
    paged_attention(kv, plan, q, k, v, attended, w.n_heads, isa.attend_segment, isa.append_kv);
    linear_all(attended, n_rows, q_dim, {w.wo}, {x}, true, isa);
    norm_all(x, w.feed_forward_norm, w.eps, normed, n_rows, dim, isa);
    float *gate = attended, *value = room(5, n_rows * hidden);
    linear_all(normed, n_rows, dim, {w.w1, w.w3}, {gate, value}, false, isa);
    swiglu_all(gate, value, gate, n_rows, hidden, isa);
    linear_all(gate, n_rows, hidden, {w.w2}, {x}, true, isa);
}

}  // namespace sirocco
