#include <nanobind/stl/optional.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "attention.h"
#include "bind.h"
#include "isa.h"

namespace sirocco {
namespace {

using AnyArray4 = nb::ndarray<nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using KvScales = std::optional<Array<float, 3>>;

// The widest head that the kernels with vectors take.
constexpr std::size_t kMaxVectorHeadDim = 256;

KvFormat format_of(const AnyArray4& values) {
    if (values.dtype() == nb::dtype<float>()) return KvFormat::float32;
    if (values.dtype() == nb::dtype<std::int8_t>()) return KvFormat::int8;
    if (values.dtype().code == std::uint8_t(nb::dlpack::dtype_code::Float) &&
        values.dtype().bits == 16)
        return KvFormat::float16;
    throw std::invalid_argument("keys and values are float32, float16 or int8");
}

// Blocks lie scattered over the cache; with large pages their addresses are looked up faster.
void want_huge_pages(void* memory, std::size_t n_bytes) {
#if defined(__linux__)
    constexpr std::uintptr_t kHugePage = 1 << 21;
    const auto first = reinterpret_cast<std::uintptr_t>(memory);
    const std::uintptr_t begin = (first + kHugePage - 1) / kHugePage * kHugePage;
    const std::uintptr_t end = (first + n_bytes) / kHugePage * kHugePage;
    // A wish: where it is not granted, everything works, a tenth slower.
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)memory, (void)n_bytes;
#endif
}

// A layer, and the arrays that it points into.
struct BoundLayer {
    KvLayer layer;
    AnyArray4 k, v;
    KvScales k_scales, v_scales;

    BoundLayer(AnyArray4 keys, AnyArray4 values, KvScales key_scales, KvScales value_scales)
        : k(keys), v(values), k_scales(key_scales), v_scales(value_scales) {
        const KvFormat format = format_of(k);
        const std::size_t N = v.shape(0), K = v.shape(1), P = v.shape(2), D = v.shape(3);
        if (format_of(v) != format || k.shape(0) != N || k.shape(1) != K || k.shape(2) != D ||
            k.shape(3) != P || v.size() == 0)
            throw std::invalid_argument("a layer wants k [N, K, D, P] and v [N, K, P, D]");
        if ((format == KvFormat::int8) != (k_scales.has_value() && v_scales.has_value()))
            throw std::invalid_argument("int8, and nothing else, wants scales of k and v");
        for (const KvScales& scales : {k_scales, v_scales})
            if (scales && (scales->shape(0) != N || scales->shape(1) != K || scales->shape(2) != P))
                throw std::invalid_argument("scales have the shape [N, K, P]");
        layer = {format, k.data(), v.data(), k_scales ? k_scales->data() : nullptr,
                 v_scales ? v_scales->data() : nullptr, N, K, D, P};
        want_huge_pages(layer.k, k.nbytes());
        want_huge_pages(layer.v, v.nbytes());
    }
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

void attend(const BoundLayer& bound, const BoundPlan& plan, Array<const float, 3> q,
            Array<const float, 3> k, Array<const float, 3> v, Array<float, 3> out,
            const std::string& isa_name) {
    const KvLayer& layer = bound.layer;
    const std::size_t T = plan.plan.slots.size(), K = layer.n_kv_heads, D = layer.head_dim;
    if (plan.n_blocks != layer.n_blocks || plan.block_size != layer.block_size)
        throw std::invalid_argument("the plan is for a cache of another shape");
    if (q.shape(0) != T || q.shape(1) == 0 || q.shape(1) % K != 0 || q.shape(2) != D)
        throw std::invalid_argument("paged_attention wants q [T, H, D], K divides H");
    for (std::size_t i = 0; i < 3; ++i)
        if (out.shape(i) != q.shape(i) || k.shape(i) != v.shape(i))
            throw std::invalid_argument("paged_attention wants out as q and v as k");
    if (k.shape(0) != T || k.shape(1) != K || k.shape(2) != D)
        throw std::invalid_argument("paged_attention wants k and v [T, K, D]");
    const bool fits_vectors = D % 8 == 0 && D <= kMaxVectorHeadDim;
    const Isa& isa = isa_named(fits_vectors ? isa_name : "scalar");
    nb::gil_scoped_release without_gil;
    paged_attention(layer, plan.plan, q.data(), k.data(), v.data(), out.data(), q.shape(1),
                    isa.attend_segment, isa.append_kv);
}

}  // namespace

void bind_attention(nb::module_& m) {
    nb::class_<BoundLayer>(m, "KvLayer")
        .def(nb::init<AnyArray4, AnyArray4, KvScales, KvScales>(), nb::arg("k").noconvert(),
             nb::arg("v").noconvert(), nb::arg("k_scales").noconvert().none(),
             nb::arg("v_scales").noconvert().none());
    nb::class_<BoundPlan>(m, "AttentionPlan")
        .def(nb::init<Array<const std::int64_t, 2>, Array<const std::int32_t, 1>, std::size_t,
                      std::size_t, std::optional<std::size_t>>(),
             nb::arg("spans").noconvert(), nb::arg("block_ids").noconvert(), nb::arg("n_blocks"),
             nb::arg("block_size"), nb::arg("window").none());
    m.def("paged_attention", &attend, nb::arg("layer"), nb::arg("plan"), nb::arg("q").noconvert(),
          nb::arg("k").noconvert(), nb::arg("v").noconvert(), nb::arg("out").noconvert(),
          nb::arg("isa"));
}

}  // namespace sirocco
