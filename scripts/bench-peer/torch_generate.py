"""Tokens per second of reading prompts and of writing in PyTorch, on the shape of SmolLM2-135M with random weights.

    python3 scripts/bench-peer/torch_generate.py prefill|decode [--batch 4] [--length 256] [--rounds 5] [--threads N]
        [--dtype f32|bf16] [--layers 30]

prefill: prompts of --length tokens and the first token of each answer. decode: the 63 tokens after the first, greedy,
one at a time for all texts, through transformers' key-value cache. bf16 converts the weights. The first round is not
counted. Prints one JSON line. The Rust counterpart is `lore bench prefill|decode`. Needs: pip install torch transformers.
"""

import argparse
import json
import os
import resource
import statistics
import time

from torch_step import decoder  # says which packages are missing

import torch

WRITTEN = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["prefill", "decode"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--layers", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = decoder(arguments.layers).eval()
    if arguments.dtype == "bf16":
        model = model.bfloat16()
    prompts = torch.randint(0, 49152, (arguments.batch, arguments.length))

    def read():
        start = time.perf_counter()
        result = model(input_ids=prompts, use_cache=True, logits_to_keep=1)
        token = result.logits[:, -1].argmax(-1, keepdim=True)
        return token, result.past_key_values, time.perf_counter() - start

    def write(token, cache):
        start = time.perf_counter()
        for _ in range(WRITTEN - 1):
            result = model(input_ids=token, past_key_values=cache, use_cache=True, logits_to_keep=1)
            token, cache = result.logits[:, -1].argmax(-1, keepdim=True), result.past_key_values
        return time.perf_counter() - start

    rates = []
    with torch.no_grad():
        for _ in range(arguments.rounds):
            token, cache, seconds = read()
            count = prompts.numel()
            if arguments.kind == "decode":
                seconds, count = write(token, cache), arguments.batch * (WRITTEN - 1)
            rates.append(count / seconds)
    result = {
        "kind": arguments.kind, "dtype": arguments.dtype, "batch": arguments.batch, "length": arguments.length,
        "layers": arguments.layers, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "median_tokens_per_second": round(statistics.median(rates[1:]), 1),
        # Linux counts in KiB.
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(result))


main()
