#!/usr/bin/env python3
"""Makes blocks.json: for each block format random blocks and their values as the `gguf` Python package reads them.

    pip install gguf numpy && python3 make.py

Ours: measured. Random bytes are valid blocks except for their half floats, which are set to small finite numbers (and a
few subnormal, zero and negative ones).
"""
import json
import os

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

# Offsets of the half floats in a block.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
          T.Q2_K: [80, 82], T.Q3_K: [108], T.IQ4_NL: [0], T.IQ4_XS: [0], T.MXFP4: []}
random = np.random.default_rng(20260822)
formats = []
for kind, offsets in HALVES.items():
    elements, size = GGML_QUANT_SIZES[kind]
    count = 4 if elements == 256 else 8
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in offsets:
        scales = (random.standard_normal(count) * 0.05).astype(np.float16)
        scales[0], scales[1] = np.float16(6e-6), np.float16(-0.0)
        blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(count, 2)
    values = dequantize(blocks, kind).astype(np.float32).reshape(-1)
    formats.append({"kind": kind.name, "blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()})
numbers = random.standard_normal(64).astype(np.float16)
formats.append({"kind": "F16", "blocks": numbers.tobytes().hex(),
                "values": numbers.astype(np.float32).tobytes().hex()})
bits = random.integers(0, 1 << 16, 64, dtype=np.uint16) & 0x3FFF
formats.append({"kind": "BF16", "blocks": bits.tobytes().hex(),
                "values": dequantize(bits.view(np.uint8), T.BF16).astype(np.float32).tobytes().hex()})
# The package does not read Q8_K; this is its definition (`block_q8_K` in ggml-common.h).
blocks = random.integers(0, 256, (4, 292), dtype=np.uint8)
scales = (random.standard_normal(4) * 0.05).astype(np.float32)
scales[0], scales[1] = np.float32(3e-40), np.float32(-0.0)
blocks[:, :4] = scales.view(np.uint8).reshape(4, 4)
values = scales[:, None] * blocks[:, 4:260].view(np.int8).astype(np.float32)
formats.append({"kind": "Q8_K", "blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "blocks.json"), "w") as file:
    json.dump(formats, file, indent=0)
    file.write("\n")
