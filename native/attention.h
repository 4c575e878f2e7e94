// Attention of all tokens of a step over the blocks of a KV cache, on all threads.
#pragma once

#include <vector>

#include "attention_kernels.h"

namespace sirocco {

// The tokens of one sequence in a step; see sirocco.attention.base.Span.
struct AttentionSpan {
    std::size_t first_row, first_position, n_tokens;
    std::size_t first_block, n_reclaimed;  // index into the plan's block_ids
};

// What all layers of a step share.
struct AttentionPlan {
    std::vector<AttentionSpan> spans;
    std::vector<std::int32_t> block_ids;
    std::vector<std::int64_t> slots;  // [T], where each token's key and value go
    std::size_t window;
};

// q, out: [T, H, D]; k, v: [T, K, D]. Stores k and v first, then attends.
void paged_attention(const KvLayer& layer, const AttentionPlan& plan, const float* q,
                     const float* k, const float* v, float* out, std::size_t n_heads,
                     AttendSegment attend, AppendKv append);

}  // namespace sirocco
