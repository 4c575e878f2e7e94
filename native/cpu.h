// What this processor can do, asked once at run time.
#pragma once

#include <string>
#include <vector>

namespace sirocco {

struct CpuFeatures {
    bool avx2 = false;
    bool fma = false;
    bool f16c = false;
    bool avx512 = false;  // F, BW, VL and DQ together
    bool avx512_vnni = false;
    bool amx_int8 = false;  // with its tiles, and the system lets this process use them
};

// The features that both the processor and the operating system support.
const CpuFeatures& cpu_features();

// The names of those that are there.
std::vector<std::string> cpu_feature_names();

}  // namespace sirocco
