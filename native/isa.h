// The instruction sets that a kernel is compiled for, chosen at run time.
#pragma once

#include <string>
#include <vector>

#include "attention_kernels.h"
#include "elementwise.h"
#include "linear.h"
#include "linear_float.h"
#include "rms_norm.h"

namespace sirocco {

// One instruction set, and the kernels that are compiled for it.
struct Isa {
    std::string name;
    RmsNorm rms_norm;
    SwiGlu swiglu;
    Rotate rotate;
    QuantizeRow quantize_row;
    LinearStripe linear_stripe;
    AddPanelRun add_panel_run;
    AttendSegment attend_segment;
    AppendKv append_kv;
};

// Those that this build holds and this processor runs, the fastest first; "scalar" is the last.
const std::vector<Isa>& isas();

// Throws std::invalid_argument if there is none of this name in isas().
const Isa& isa_named(const std::string& name);

}  // namespace sirocco
