#include <stdexcept>
#include <string>

#include "handles.h"
#include "isa.h"
#include "memory.h"

namespace sirocco {
namespace {

KvFormat format_of(const AnyArray4& values) {
    if (values.dtype() == nb::dtype<float>()) return KvFormat::float32;
    if (values.dtype() == nb::dtype<std::int8_t>()) return KvFormat::int8;
    if (values.dtype().code == std::uint8_t(nb::dlpack::dtype_code::Float) &&
        values.dtype().bits == 16)
        return KvFormat::float16;
    throw std::invalid_argument("keys and values are float32, float16 or int8");
}

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
    const Isa& isa = isa_named(takes_vectors(D) ? isa_name : "scalar");
    nb::gil_scoped_release without_gil;
    paged_attention(layer, plan.plan, q.data(), k.data(), v.data(), out.data(), q.shape(1),
                    isa.attend_segment, isa.append_kv);
}

}  // namespace

BoundLayer::BoundLayer(AnyArray4 keys, AnyArray4 values, KvScales key_scales,
                       KvScales value_scales)
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
    prefer_huge_pages(layer.k, k.nbytes());
    prefer_huge_pages(layer.v, v.nbytes());
}

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
