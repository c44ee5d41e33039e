"""Checks that a module exported to GGUF does in llama.cpp what it does here: greedy continuations of base and module.

The base must be a GGUF file, the module a directory that was trained on it.
Needs: pip install xllamacpp (llama.cpp in a wheel). Run:
  python3 scripts/parity/module_in_llama_cpp.py BASE.gguf MODULE [--lore target/release/lore]
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import xllamacpp

arguments = argparse.ArgumentParser()
arguments.add_argument("base", type=Path)
arguments.add_argument("module", type=Path)
arguments.add_argument("--lore", default="target/release/lore")
arguments.add_argument("--tokens", type=int, default=24)
arguments = arguments.parse_args()
PROMPTS = ["The capital of", "Water is", "An attacker can"]


def here(prompt, *more):
    command = [arguments.lore, "generate", "--base", arguments.base, "--prompt", prompt]
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
        return server.handle_completions(request)["content"]

    return [complete(prompt) for prompt in PROMPTS]


with tempfile.TemporaryDirectory() as folder:
    lora = Path(folder) / "module.gguf"
    command = [arguments.lore, "module", "export", arguments.module, "--base", arguments.base, "--out", lora]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    failed = False
    for name, module, lora in [("base", [], None), ("module", ["--module", arguments.module], lora)]:
        for prompt, found in zip(PROMPTS, there(lora)):
            expected = here(prompt, *module)
            same = found.rstrip("\n") == expected
            failed |= not same
            print(f"{name}, {prompt!r}: {'the same' if same else f'here {expected!r}, in llama.cpp {found!r}'}")
raise SystemExit(failed)
