"""Items per second of multiple-choice scoring through transformers: padded batches, similar lengths together.

    python3 scripts/bench-peer/torch_score.py --base FOLDER --input items.jsonl [--output scored.jsonl] [--batch 16]
        [--threads N] [--dtype f32|bf16]

The input is that of `lore score`: lines {"context": "...", "continuation": "..."}; the output adds `loglikelihood`. As
in lm-evaluation-harness every line is a row of its own, also where lines share a context. Prints one JSON line; times
are without loading the model, which is given beside. Needs: pip install torch transformers.
"""

import argparse
import importlib.util
import json
import os
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"missing Python packages; run: pip install {' '.join(missing)}")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def split(tokenizer, context, continuation):
    """Tokens of the context and of the continuation, as lm-evaluation-harness splits them."""
    if not context:
        prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        return [prefix], tokenizer.encode(continuation, add_special_tokens=False)
    given = tokenizer.encode(context.rstrip())
    return given, tokenizer.encode(context + continuation)[len(given) :]


@torch.no_grad()
def score_batch(model, requests):
    """Log-likelihoods of several requests, padded on the right, where causal attention does not see it."""
    rows = [(context + continuation)[:-1] for context, continuation in requests]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    for row, (context, continuation) in zip(logits, requests):
        scores = row[len(context) - 1 : len(context) - 1 + len(continuation)].float().log_softmax(-1)
        yield scores.gather(1, torch.tensor(continuation)[:, None]).sum().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    begin = time.perf_counter()
    dtype = torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(arguments.base, dtype=dtype).eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.base)
    lines = [json.loads(line) for line in arguments.input.read_text().splitlines() if line.strip()]
    loaded = time.perf_counter()

    requests = [split(tokenizer, line["context"], line["continuation"]) for line in lines]
    order = sorted(range(len(requests)), key=lambda i: -sum(map(len, requests[i])))
    for start in range(0, len(order), arguments.batch):
        chosen = order[start : start + arguments.batch]
        for i, total in zip(chosen, score_batch(model, [requests[i] for i in chosen])):
            lines[i]["loglikelihood"] = total
    seconds = time.perf_counter() - loaded
    if arguments.output:
        arguments.output.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {
        "items": len(lines), "tokens": sum(len(a) + len(b) for a, b in requests), "batch": arguments.batch,
        "dtype": arguments.dtype, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "loading_seconds": round(loaded - begin, 2), "seconds": round(seconds, 2),
        "items_per_second": round(len(lines) / seconds, 2),
        # Linux counts in KiB.
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(result))


main()
