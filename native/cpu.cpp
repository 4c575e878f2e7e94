#include "cpu.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace sirocco {
namespace {

#if defined(__x86_64__) && defined(__linux__)
bool has_amx_int8() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kAmxTile) && (d & kAmxInt8);
}

// Linux saves the tiles' 8 KB with a thread only in processes that have asked for it.
bool may_use_tiles() {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // asm/prctl.h, since Linux 5.16
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#else
bool has_amx_int8() { return false; }
bool may_use_tiles() { return false; }
#endif

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
    found.amx_int8 = found.avx512_vnni && has_amx_int8() && may_use_tiles();
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
    if (found.amx_int8) names.push_back("amx_int8");
    return names;
}

}  // namespace sirocco
