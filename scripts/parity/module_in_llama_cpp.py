"""Checks that a module exported to GGUF does in llama.cpp what it does here: greedy continuations of base and module.

The base must be a GGUF file of the Llama architecture. It is compared dequantised to f32, since llama.cpp also rounds
the inputs of quantised weights. Without a module, a random one of rank 8 is used, with different alphas by projection.
Needs: pip install xllamacpp (llama.cpp in a wheel) gguf numpy safetensors. Run:
  python3 scripts/parity/module_in_llama_cpp.py BASE.gguf [MODULE] [--lore target/release/lore]
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import xllamacpp
from gguf import GGUFReader, GGUFWriter, dequantize
from safetensors.numpy import save_file

arguments = argparse.ArgumentParser()
arguments.add_argument("base", type=Path)
arguments.add_argument("module", type=Path, nargs="?")
arguments.add_argument("--lore", default="target/release/lore")
arguments.add_argument("--tokens", type=int, default=24)
arguments = arguments.parse_args()
PROMPTS = ["The capital of", "Water is", "An attacker can"]


def dequantised(path):
    """The base with every tensor as f32."""
    reader = GGUFReader(arguments.base)
    fields = [field for name, field in reader.fields.items() if not name.startswith("GGUF.")]
    architecture = next(field.contents() for field in fields if field.name == "general.architecture")
    writer = GGUFWriter(path, architecture)
    for field in fields:
        if field.name not in ("general.architecture", "general.file_type"):
            kind, *inner = field.types
            writer.add_key_value(field.name, field.contents(), kind, sub_type=inner[-1] if inner else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_module(folder):
    """A PEFT directory that moves every projection by about a hundredth of its size."""
    parts = {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }
    random, rank, tensors = np.random.default_rng(7), 8, {}
    for tensor in GGUFReader(arguments.base).tensors:
        block, layer, part, *_ = tensor.name.split(".") + [""] * 3
        if block == "blk" and part in parts:
            width, height = (int(size) for size in tensor.shape)
            name = f"base_model.model.model.layers.{layer}.{parts[part]}"
            tensors[f"{name}.lora_A.weight"] = random.normal(0, width**-0.5, (rank, width)).astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = random.normal(0, 0.05, (height, rank)).astype(np.float32)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "alpha_pattern": {"v_proj": 24, "down_proj": 8}}
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def here(prompt, *more):
    command = [arguments.lore, "generate", "--base", arguments.base, "--prompt", prompt, "--allow-base-mismatch"]
    command += ["--max-tokens", str(arguments.tokens), *more]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return text.removeprefix(prompt).rstrip("\n")


def there(lora):
    params = xllamacpp.CommonParams()
    params.model.path = str(arguments.base)
    params.n_ctx = 256
    params.n_parallel = 1
    params.warmup = False
    if lora:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 1.0)]
    server = xllamacpp.Server(params)

    def complete(prompt):
        # Text begins with the same token as here.
        request = {"prompt": "<|endoftext|>" + prompt, "n_predict": arguments.tokens, "temperature": 0.0, "cache_prompt": False}
        answer = server.handle_completions(request)
        return answer["choices"][0]["text"] if "choices" in answer else answer["content"]

    return [complete(prompt) for prompt in PROMPTS]


with tempfile.TemporaryDirectory() as folder:
    arguments.base = dequantised(Path(folder) / "base.gguf")
    module = arguments.module or random_module(Path(folder) / "random")
    lora = Path(folder) / "module.gguf"
    command = [arguments.lore, "module", "export", module, "--base", arguments.base, "--out", lora, "--allow-base-mismatch"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    failed, continuations = False, {}
    for name, options, adapter in [("base", [], None), ("module", ["--module", module], lora)]:
        continuations[name] = there(adapter)
        for prompt, found in zip(PROMPTS, continuations[name]):
            expected = here(prompt, *options)
            same = found.rstrip("\n") == expected
            failed |= not same
            print(f"{name}, {prompt!r}: {'the same' if same else f'here {expected!r}, in llama.cpp {found!r}'}")
    if continuations["base"] == continuations["module"]:
        print("the module changes nothing")
        failed = True
raise SystemExit(failed)
