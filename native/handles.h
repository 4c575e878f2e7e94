// Objects that Python holds: checked once, used in every step.
#pragma once

#include <nanobind/stl/optional.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "attention.h"
#include "bind.h"
#include "step.h"

namespace sirocco {

// Tiles [n_stripes, n_groups, bytes] and scales [n_stripes, n_groups, 16] (the bits of float16).
using Tiles = Array<const std::uint8_t, 3>;
using Scales = Array<const std::int16_t, 3>;

// Panels [n_panels, n_columns, 32].
using Panels = Array<const float, 3>;

// A checked matrix of one of two kinds, which keeps its arrays alive.
struct Matrix {
    nb::object arrays;
    std::optional<QuantizedMatrix> rounded;
    std::optional<FloatMatrix> floats;

    AnyMatrix any() const { return {rounded ? &*rounded : nullptr, floats ? &*floats : nullptr}; }
};

// Whether the kernels with vectors take heads of this width; the scalar ones take any.
inline bool takes_vectors(std::size_t head_dim) { return head_dim % 8 == 0 && head_dim <= 256; }

using AnyArray4 = nb::ndarray<nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using KvScales = std::optional<Array<float, 3>>;

// The keys and values of a layer, and the arrays that it points into.
struct BoundLayer {
    KvLayer layer;
    AnyArray4 k, v;
    KvScales k_scales, v_scales;

    BoundLayer(AnyArray4 keys, AnyArray4 values, KvScales key_scales, KvScales value_scales);
};

// What a plan was made for, so that it is not used with another cache.
struct BoundPlan {
    AttentionPlan plan;
    std::size_t n_blocks, block_size;

    // spans: [B, 4]: first position, tokens, blocks, reclaimed blocks, as in Span.
    BoundPlan(Array<const std::int64_t, 2> spans, Array<const std::int32_t, 1> block_ids,
              std::size_t n_blocks, std::size_t block_size, std::optional<std::size_t> window)
        : n_blocks(n_blocks), block_size(block_size) {
        if (spans.shape(1) != 4 || block_size == 0 || window == std::size_t(0))
            throw std::invalid_argument("a plan wants spans [B, 4], slots and a window");
        plan.window = window.value_or(SIZE_MAX);
        plan.block_ids.assign(block_ids.data(), block_ids.data() + block_ids.shape(0));
        for (const std::int32_t id : plan.block_ids)
            if (id < 0 || std::size_t(id) >= n_blocks)
                throw std::invalid_argument("block " + std::to_string(id) + " is not in the cache");
        std::size_t row = 0, block = 0;
        for (std::size_t i = 0; i < spans.shape(0); ++i) {
            const std::int64_t* span = spans.data() + 4 * i;
            for (int j = 0; j < 4; ++j)
                if (span[j] < 0) throw std::invalid_argument("a span has a negative number");
            add({row, std::size_t(span[0]), std::size_t(span[1]), block, std::size_t(span[3])},
                std::size_t(span[2]));
            row += std::size_t(span[1]);
            block += std::size_t(span[2]);
        }
    }

  private:
    void add(const AttentionSpan& span, std::size_t n_blocks_of_span) {
        const std::size_t end = span.first_position + span.n_tokens;
        const std::size_t seen =
            span.first_position < plan.window ? 0 : span.first_position + 1 - plan.window;
        if (span.n_tokens == 0) throw std::invalid_argument("a span has no tokens");
        if (span.first_block + n_blocks_of_span > plan.block_ids.size() ||
            (end - 1) / block_size >= span.n_reclaimed + n_blocks_of_span)
            throw std::invalid_argument("a span has too few blocks for its tokens");
        if (seen / block_size < span.n_reclaimed)
            throw std::invalid_argument("a span has given back a block in its window");
        plan.spans.push_back(span);
        for (std::size_t position = span.first_position; position < end; ++position) {
            const std::size_t index = position / block_size - span.n_reclaimed;
            plan.slots.push_back(
                std::int64_t(plan.block_ids[span.first_block + index]) * std::int64_t(block_size) +
                std::int64_t(position % block_size));
        }
    }
};

}  // namespace sirocco
