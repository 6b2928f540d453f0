// Output heads that share the token embedding's weight.
#pragma once

#include <span>

#include "octavo/policy.h"

namespace octavo::quant {

// Where the configuration ties the head to the embedding: turns the head's decision into kTie, or
// adds one if the source has no tensor for it. A head that is stored although tied gets kTie too,
// with its `weight`: whoever reads the bytes must see that both are equal (ConfirmTies). Warns
// where no head can be found.
void TieHead(std::span<const format::SourceTensor> tensors, const ModelConfig& config,
             Policy* policy);

}  // namespace octavo::quant
