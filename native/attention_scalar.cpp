// The definition, in plain C++: any processor and any head_dim, and the judge of the others.
#include <cmath>
#include <cstring>
#include <limits>

#include "attention_kernels.h"
#include "half.h"

namespace sirocco {
namespace {

float value_at(KvFormat format, const void* values, const float* scales, std::size_t i,
               std::size_t slot) {
    if (format == KvFormat::float32) return static_cast<const float*>(values)[i];
    if (format == KvFormat::float16)
        return float_from_half(static_cast<const std::uint16_t*>(values)[i]);
    return float(static_cast<const std::int8_t*>(values)[i]) * scales[slot];
}

void store_at(KvFormat format, void* values, std::size_t i, float value) {
    if (format == KvFormat::float32)
        static_cast<float*>(values)[i] = value;
    else if (format == KvFormat::float16)
        static_cast<std::uint16_t*>(values)[i] = half_from_float(value);
    else
        static_cast<std::int8_t*>(values)[i] = std::int8_t(std::lrintf(value));
}

// The scale that maps the largest of x to 127, and what to multiply x with. A NaN or an infinity
// makes the scale NaN, and with it the whole position.
float int8_scale(const float* x, std::size_t n, float& inverse) {
    float largest = 0.0f;
    for (std::size_t i = 0; i < n; ++i) {
        if (!std::isfinite(x[i])) {
            inverse = 0.0f;
            return std::numeric_limits<float>::quiet_NaN();
        }
        largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
    }
    inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
    return largest > 1e-30f ? largest / 127.0f : 0.0f;
}

// Write x [D] to values[first + d * stride], and its scale.
void store_row(const KvLayer& layer, const float* x, void* values, float* scales,
               std::size_t slot, std::size_t first, std::size_t stride) {
    float factor = 1.0f;
    const bool is_int8 = layer.format == KvFormat::int8;
    if (is_int8) scales[slot] = int8_scale(x, layer.head_dim, factor);
    for (std::size_t d = 0; d < layer.head_dim; ++d) {
        const float value = is_int8 ? (factor == 0.0f ? 0.0f : x[d] * factor) : x[d];
        store_at(layer.format, values, first + d * stride, value);
    }
}

// One row: online softmax, position by position.
void attend_row(const KvLayer& layer, const QueryTile& tile, std::size_t kv_head, const float* q,
                Range seen, float* sums, float& peak, float& weight) {
    const std::size_t D = layer.head_dim, P = layer.block_size;
    for (std::size_t position = seen.begin; position < seen.end; ++position) {
        const std::size_t block = std::size_t(tile.block_ids[position / P - tile.n_reclaimed]);
        const std::size_t head = block * layer.n_kv_heads + kv_head, offset = position % P;
        const std::size_t slot = head * P + offset;
        float score = 0.0f;
        for (std::size_t d = 0; d < D; ++d)
            score += q[d] * tile.scale *
                     value_at(layer.format, layer.k, layer.k_scales, (head * D + d) * P + offset,
                              slot);
        const float higher = score > peak ? score : peak;
        const float base = std::isinf(higher) && higher < 0 ? 0.0f : higher;
        const float keep = std::exp2(peak - base), p = std::exp2(score - base);
        peak = higher;
        weight = weight * keep + p;
        for (std::size_t d = 0; d < D; ++d)
            sums[d] = sums[d] * keep +
                      p * value_at(layer.format, layer.v, layer.v_scales, slot * D + d, slot);
    }
}

}  // namespace

void attend_segment_scalar(const KvLayer& layer, const QueryTile& tile, Range range, float*,
                           const SegmentResult& result) {
    const std::size_t D = layer.head_dim;
    for (std::size_t row = 0; row < tile.n_rows(); ++row) {
        float* sums = result.sums + row * padded(D);
        std::memset(sums, 0, D * sizeof(float));
        result.peaks[row] = -std::numeric_limits<float>::infinity();
        result.weights[row] = 0.0f;
        attend_row(layer, tile, tile.kv_head + row / tile.rows_a_head(),
                   tile.q + tile.offset_of(row, D), visible_to(tile, tile.token_of(row), range),
                   sums, result.peaks[row], result.weights[row]);
    }
}

void append_kv_scalar(const KvLayer& layer, const float* k, const float* v,
                      const std::int64_t* slots, std::size_t n_tokens, std::size_t kv_head) {
    const std::size_t D = layer.head_dim, P = layer.block_size, K = layer.n_kv_heads;
    for (std::size_t token = 0; token < n_tokens; ++token, k += K * D, v += K * D) {
        const std::size_t head = std::size_t(slots[token]) / P * K + kv_head;
        const std::size_t offset = std::size_t(slots[token]) % P, slot = head * P + offset;
        store_row(layer, k, layer.k, layer.k_scales, slot, head * D * P + offset, P);
        store_row(layer, v, layer.v, layer.v_scales, slot, slot * D, 1);
    }
}

}  // namespace sirocco
