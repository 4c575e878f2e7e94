#include "isa.h"

#include <stdexcept>

#include "cpu.h"

namespace sirocco {
namespace {

std::vector<Isa> usable() {
    std::vector<Isa> found;
    const Isa scalar{"scalar", rms_norm_scalar};
#if defined(SIROCCO_HAS_AVX2)
    Isa avx2 = scalar;
    avx2.name = "avx2";
    avx2.rms_norm = rms_norm_avx2;
    if (cpu_features().avx2 && cpu_features().fma && cpu_features().f16c) found.push_back(avx2);
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
