#include "cpu.h"

namespace sirocco {
namespace {

CpuFeatures detect() {
    CpuFeatures found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    found.avx2 = __builtin_cpu_supports("avx2");
    found.fma = __builtin_cpu_supports("fma");
    found.f16c = __builtin_cpu_supports("f16c");
    found.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    found.avx512_vnni = found.avx512 && __builtin_cpu_supports("avx512vnni");
#endif
    return found;
}

}  // namespace

const CpuFeatures& cpu_features() {
    static const CpuFeatures features = detect();
    return features;
}

std::vector<std::string> cpu_feature_names() {
    const CpuFeatures& found = cpu_features();
    std::vector<std::string> names;
    if (found.avx2) names.push_back("avx2");
    if (found.fma) names.push_back("fma");
    if (found.f16c) names.push_back("f16c");
    if (found.avx512) names.push_back("avx512");
    if (found.avx512_vnni) names.push_back("avx512_vnni");
    return names;
}

}  // namespace sirocco
