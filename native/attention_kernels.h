// The kernels of attention over the blocks of a KV cache: grouped heads, causal, in a window.
//
// A token's result has the same bits whatever else the step holds, however its prompt was cut,
// wherever its blocks lie and however large they are. So that this holds by construction,
//   - positions are read in tiles of 32 and summed up in segments of 512, both counted from
//     position 0 of the sequence and not from what a step happens to bring;
//   - within a tile each sum has one order: channels 0 … D - 1, positions first to last;
//   - a position that a token may not see is nothing: it is left out, not multiplied by zero.
// Source: Kwon 2023 §4.1 (blocks); Milakov & Gimelshein 2018 §3 (online softmax); Ainslie 2023
// §2.2 (groups); Jiang 2023 §2 (window).
#pragma once

#include <cstddef>
#include <cstdint>

namespace sirocco {

constexpr std::size_t kTile = 32;      // positions that are loaded together
constexpr std::size_t kSegment = 512;  // positions whose softmax is one running sum

enum class KvFormat { float32, float16, int8 };

// Keys and values of one layer, in N blocks of P positions.
struct KvLayer {
    KvFormat format;
    void* k;          // [N, K, D, P], so that a vector holds one channel of P neighbours
    void* v;          // [N, K, P, D]
    float* k_scales;  // [N, K, P]: int8 times its position's scale is the value; else null
    float* v_scales;
    std::size_t n_blocks, n_kv_heads, head_dim, block_size;
};

// Some neighbouring tokens of a sequence, and the query heads of some neighbouring KV heads. Its
// rows are these query heads of these tokens: KV head by KV head, and of each token by token.
struct QueryTile {
    const float* q;  // [n_tokens, H, D], from the first token and the first group's first head on
    std::size_t n_tokens, group_size, token_stride;
    std::size_t kv_head, n_kv_heads;  // the first of them, and how many
    std::size_t first_position;       // of the first token
    std::size_t window;               // keys a token may see; SIZE_MAX is all
    const std::int32_t* block_ids;    // of positions n_reclaimed * P and on
    std::size_t n_reclaimed;
    float scale;  // log2(e) / sqrt(D): scores are exponents of 2

    std::size_t rows_a_head() const { return n_tokens * group_size; }
    std::size_t n_rows() const { return n_kv_heads * rows_a_head(); }
    std::size_t token_of(std::size_t row) const { return row % rows_a_head() / group_size; }

    // Where a row's query, or its output, begins, counted from that of the first row.
    std::size_t offset_of(std::size_t row, std::size_t head_dim) const {
        const std::size_t head = row / rows_a_head() * group_size + row % group_size;
        return token_of(row) * token_stride + head * head_dim;
    }
};

// The positions begin … end - 1.
struct Range {
    std::size_t begin, end;
};

// Those of `range` that a token of the tile may see: its own position and those before it in its
// window. Static: each file that includes this gets its own, compiled with its own flags.
static inline Range visible_to(const QueryTile& tile, std::size_t token, Range range) {
    const std::size_t end = tile.first_position + token + 1;
    const std::size_t begin = end > tile.window ? end - tile.window : 0;
    const Range seen{begin > range.begin ? begin : range.begin, end < range.end ? end : range.end};
    return seen.begin < seen.end ? seen : Range{seen.begin, seen.begin};
}

// What a segment says about each row. A row that sees nothing of it has peak -infinity, weight 0
// and sums of 0.
struct SegmentResult {
    float* sums;     // [rows, padded D]: values times 2^(score - peak), added up
    float* peaks;    // [rows]: the largest score
    float* weights;  // [rows]: 2^(score - peak), added up
};

// Rows of a channel sum are this far apart, so that whole vectors fit.
constexpr std::size_t padded(std::size_t head_dim) { return (head_dim + 15) / 16 * 16; }

// Floats that AttendSegment wants as scratch.
constexpr std::size_t scratch_floats(std::size_t n_rows, std::size_t head_dim) {
    return n_rows * (padded(head_dim) + kTile + 32) + 2 * kTile * padded(head_dim);
}

// Attend over `range`, which lies in one segment; scratch and result are aligned to 64 bytes.
using AttendSegment = void (*)(const KvLayer& layer, const QueryTile& tile, Range range,
                               float* scratch, const SegmentResult& result);

// Store `n_tokens` keys and values of one KV head, [n_tokens, K, D] from that head on, at slots
// block_id * P + offset.
using AppendKv = void (*)(const KvLayer& layer, const float* k, const float* v,
                          const std::int64_t* slots, std::size_t n_tokens, std::size_t kv_head);

void attend_segment_scalar(const KvLayer&, const QueryTile&, Range, float*, const SegmentResult&);
void append_kv_scalar(const KvLayer&, const float*, const float*, const std::int64_t*,
                      std::size_t, std::size_t);

// These take head_dim as a multiple of 8; the caller has asked cpu_features().
void attend_segment_avx2(const KvLayer&, const QueryTile&, Range, float*, const SegmentResult&);
void append_kv_avx2(const KvLayer&, const float*, const float*, const std::int64_t*, std::size_t,
                    std::size_t);
void attend_segment_avx512(const KvLayer&, const QueryTile&, Range, float*, const SegmentResult&);

}  // namespace sirocco
