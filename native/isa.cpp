#include "isa.h"

#include <stdexcept>

#include "cpu.h"

namespace sirocco {
namespace {

std::vector<Isa> usable() {
    std::vector<Isa> found;
    const Isa scalar{"scalar",
                     rms_norm_scalar,
                     swiglu_scalar,
                     rotate_scalar,
                     quantize_row_scalar,
                     linear_stripe_scalar,
                     add_panel_run_scalar,
                     attend_segment_scalar,
                     append_kv_scalar};
#if defined(SIROCCO_HAS_AVX2)
    Isa avx2 = scalar;
    avx2.name = "avx2";
    avx2.rms_norm = rms_norm_avx2;
    avx2.swiglu = swiglu_avx2;
    avx2.rotate = rotate_avx2;
    avx2.quantize_row = quantize_row_avx2;
    avx2.linear_stripe = linear_stripe_avx2;
    avx2.add_panel_run = add_panel_run_avx2;
    avx2.attend_segment = attend_segment_avx2;
    avx2.append_kv = append_kv_avx2;
    const bool has_avx2 = cpu_features().avx2 && cpu_features().fma && cpu_features().f16c;
#if defined(SIROCCO_HAS_AVX512_VNNI)
    Isa avx512_vnni = avx2;
    avx512_vnni.name = "avx512_vnni";
    avx512_vnni.swiglu = swiglu_avx512;
    avx512_vnni.linear_stripe = linear_stripe_avx512_vnni;
    avx512_vnni.add_panel_run = add_panel_run_avx512;
    avx512_vnni.attend_segment = attend_segment_avx512;
#if defined(SIROCCO_HAS_AMX_INT8)
    Isa amx_int8 = avx512_vnni;
    amx_int8.name = "amx_int8";
    amx_int8.linear_stripe = linear_stripe_amx;
    if (has_avx2 && cpu_features().amx_int8) found.push_back(amx_int8);
#endif
    if (has_avx2 && cpu_features().avx512_vnni) found.push_back(avx512_vnni);
#endif
    if (has_avx2) found.push_back(avx2);
#endif
    found.push_back(scalar);
    return found;
}

}  // namespace

const std::vector<Isa>& isas() {
    static const std::vector<Isa> found = usable();
    return found;
}

const Isa& isa_named(const std::string& name) {
    for (const Isa& isa : isas())
        if (isa.name == name) return isa;
    throw std::invalid_argument("isa " + name + " is not usable here");
}

}  // namespace sirocco
