#!/usr/bin/env python3
"""Makes references.json: tiny models of every architecture, and what llama.cpp computes with them.

    pip install gguf numpy && python3 make.py LLAMA_CPP_SOURCE LLAMA_CPP_BUILD

Ours: measured with llama.cpp of llama-cpp-python 0.3.36, built as `cargo xtask bench llm` builds it. The weights are not
stored: they are drawn from SplitMix64, by this script and by `../architectures.rs` alike, in the order in which the tensors
are listed. In the tokenizers nothing is compared here: llama.cpp gets a model without one.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGUFWriter

HERE = os.path.dirname(os.path.abspath(__file__))
VOCABULARY = 264
PROMPT, GREEDY, POSITIONS = 45, 12, [0, 9, 26, 44]


def splitmix64(seed, count):
    """The first numbers of the sequence, in 0..1."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)


def tensors(c):
    """Name, columns, rows, spread and middle of each tensor; a vector has no rows."""
    width, ffn, layers = c["embedding_length"], c["feed_forward_length"], c["block_count"]
    head = c.get("attention.key_length", width // c["attention.head_count"])
    q, kv = head * c["attention.head_count"], head * c["attention.head_count_kv"]
    has = c["has"]
    matrix = lambda name, columns, rows, spread=0.4: (name + ".weight", columns, rows, spread, 0.0)
    norm = lambda name, length: (name + ".weight", length, 0, 0.8, 1.0)
    bias = lambda name, length: (name + ".bias", length, 0, 1.0, 0.0)
    # Where the embedding is the head too, it is small, lest every token beget itself.
    embedding = 2.0 if "head" in has else 0.1 if "post norms" in has else 0.4
    out = [matrix("token_embd", width, VOCABULARY, embedding), norm("output_norm", width)]
    if "head" in has:
        out.append(matrix("output", width, VOCABULARY))
    if "head bias" in has:
        out.append(bias("output", VOCABULARY))
    pairs = c.get("rope.dimension_count", head) // 2
    if "rope_freqs" in has:
        out.append(("rope_freqs.weight", pairs, 0, 7.0, 4.5))
    if "long and short" in has:
        out += [("rope_factors_long.weight", pairs, 0, 7.0, 4.5), ("rope_factors_short.weight", pairs, 0, 1.0, 1.5)]
    for n in range(layers):
        b = f"blk.{n}."
        out.append(norm(b + "attn_norm", width))
        if "fused qkv" in has:
            out.append(matrix(b + "attn_qkv", width, q + 2 * kv, 0.6))
            if "qkv bias" in has:
                out.append(bias(b + "attn_qkv", q + 2 * kv))
        else:
            for name, rows in ("attn_q", q), ("attn_k", kv), ("attn_v", kv):
                out.append(matrix(b + name, width, rows, 0.6))
                if "qkv bias" in has:
                    out.append(bias(b + name, rows))
        if "qk norm" in has:
            out += [norm(b + "attn_q_norm", head), norm(b + "attn_k_norm", head)]
        out.append(matrix(b + "attn_output", q, width))
        if "output bias" in has:
            out.append(bias(b + "attn_output", width))
        if "post norms" in has:
            out += [norm(b + "post_attention_norm", width), norm(b + "post_ffw_norm", width)]
        out.append(norm(b + "ffn_norm", width))
        if "fused gate" in has:
            out.append(matrix(b + "ffn_up", width, 2 * ffn))
        else:
            out += [matrix(b + "ffn_gate", width, ffn), matrix(b + "ffn_up", width, ffn)]
        out.append(matrix(b + "ffn_down", ffn, width))
    return out


def case(name, architecture, has=(), without=(), context=64, **keys):
    """One model. `without`: keys that must make a difference, which the test drops to see one."""
    metadata = {"block_count": 2, "context_length": 512, "embedding_length": 64, "feed_forward_length": 96,
                "attention.head_count": 4, "attention.head_count_kv": 2,
                "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0}
    metadata.update({key.replace("__", "."): value for key, value in keys.items()})
    return {"name": name, "architecture": architecture, "metadata": metadata, "without": list(without),
            "context": context, "has": list(has)}


YARN = dict(rope__scaling__type="yarn", rope__scaling__factor=4.0, rope__scaling__original_context_length=16)
CASES = [
    case("llama", "llama", ["head"]),
    # Mistral 7B's first version: llama.cpp does not read a llama's window.
    case("mistral", "llama", ["head"], attention__sliding_window=8),
    case("llama, linear", "llama", without=["rope.scaling.factor"],
         rope__scaling__type="linear", rope__scaling__factor=4.0),
    case("llama, scaling none", "llama", without=["rope.scaling.type"],
         rope__scaling__type="none", rope__scaling__factor=4.0),
    case("llama 3, divisors", "llama", ["rope_freqs"], rope__freq_base=500000.0),
    case("llama, yarn", "llama", ["head"], without=["rope.scaling.type", "rope.scaling.original_context_length"],
         **YARN),
    case("llama, longrope", "llama", ["long and short"], rope__scaling__type="longrope",
         rope__scaling__original_context_length=16, rope__scaling__attn_factor=1.2),
    case("llama, biases and fused qkv", "llama", ["fused qkv", "qkv bias", "output bias"]),
    case("mistral3, yarn and temperature", "mistral3", ["head"],
         without=["rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "rope.scaling.yarn_log_multiplier",
                  "attention.temperature_scale"],
         rope__scaling__yarn_beta_fast=0.5, rope__scaling__yarn_beta_slow=0.05,
         rope__scaling__yarn_log_multiplier=2.0, attention__temperature_scale=0.3, **YARN),
    case("smollm3", "smollm3", ["head"], block_count=4),
    case("qwen2", "qwen2", ["head", "head bias", "qkv bias"]),
    case("qwen2, yarn", "qwen2", ["qkv bias"], without=["rope.scaling.type"], **YARN),
    case("qwen3", "qwen3", ["head", "qk norm"], attention__key_length=32, attention__value_length=32,
         rope__freq_base=1000000.0),
    case("phi3, long", "phi3", ["head", "fused qkv", "fused gate", "long and short"],
         without=["rope.scaling.attn_factor", "rope.scaling.original_context_length"],
         rope__dimension_count=12, rope__scaling__original_context_length=16, rope__scaling__attn_factor=1.2,
         attention__sliding_window=8),
    case("phi3, short", "phi3", ["fused qkv", "fused gate", "long and short"], context=256,
         without=["rope.scaling.attn_factor"],
         rope__dimension_count=16, rope__scaling__original_context_length=256, rope__scaling__attn_factor=1.2),
    case("gemma2", "gemma2", ["post norms"],
         without=["attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping"],
         block_count=4, attention__key_length=32, attention__value_length=32, attention__sliding_window=8,
         attn_logit_softcapping=2.0, final_logit_softcapping=0.3),
    case("gemma2, every third layer", "gemma2", ["post norms"], without=["attention.sliding_window_pattern"],
         block_count=4, attention__sliding_window=8, attention__sliding_window_pattern=3),
]


def write(path, c):
    file = GGUFWriter(path, c["architecture"])
    for key, value in c["metadata"].items():
        add = {int: file.add_uint32, float: file.add_float32, str: file.add_string}[type(value)]
        add(f"{c['architecture']}.{key}", value)
    file.add_string("tokenizer.ggml.model", "none")
    file.add_uint32(f"{c['architecture']}.vocab_size", VOCABULARY)
    for index, (name, columns, rows, spread, middle) in enumerate(c["tensors"]):
        drawn = splitmix64((c["seed"] << 32) + index, columns * max(rows, 1))
        values = (drawn - np.float32(0.5)) * np.float32(spread) + np.float32(middle)
        file.add_tensor(name, values.reshape((rows, columns)) if rows else values)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def main(source, build):
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "reference")
        subprocess.run(
            ["c++", "-O1", "-I", f"{source}/include", "-I", f"{source}/ggml/include", f"{HERE}/reference.cpp", "-o", program,
             f"{build}/src/libllama.a", f"{build}/ggml/src/libggml.a", f"{build}/ggml/src/libggml-cpu.a",
             f"{build}/ggml/src/libggml-base.a", "-lgomp", "-lpthread", "-ldl", "-lm"], check=True)
        prompt = [(i * 97 + 13) % VOCABULARY for i in range(PROMPT)]
        for seed, c in enumerate(CASES):
            c["seed"] = seed
            c["tensors"] = tensors({**c["metadata"], "has": c.pop("has")})
            model = os.path.join(folder, "model.gguf")
            write(model, c)
            run = subprocess.run([program, model, str(c["context"]), str(GREEDY), " ".join(map(str, prompt)),
                                  " ".join(map(str, POSITIONS))], check=True, capture_output=True, text=True)
            *logits, greedy = run.stdout.split("\n")[:-1]
            c["logits"] = dict(zip(map(str, POSITIONS), logits))
            c["greedy"] = list(map(int, greedy.split()))
            print(f"{c['name']:32} {greedy}")
    out = {"vocabulary": VOCABULARY, "prompt": prompt, "cases": CASES}
    with open(os.path.join(HERE, "references.json"), "w") as file:
        json.dump(out, file, separators=(",", ":"))
        file.write("\n")


main(*sys.argv[1:])
