// What this processor can do, asked once at run time.
#pragma once

namespace sirocco {

struct CpuFeatures {
    bool avx2 = false;
    bool fma = false;
};

// The features that both the processor and the operating system support.
const CpuFeatures& cpu_features();

}  // namespace sirocco
