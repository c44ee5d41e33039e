"""Tokens per second of training steps in PyTorch, on the shape of SmolLM2-135M with random weights.

    python3 scripts/bench-peer/torch_step.py lora|full|distil [--batch 4] [--length 256] [--steps 4] [--threads N]
        [--dtype f32|bf16] [--layers 30]

lora: PEFT, rank 16 on all seven projections. full: every weight. distil: a teacher under no_grad, a student of half as
many blocks, every weight trained, forward KL over the vocabulary from both models' logits. bf16 is autocast, weights
stay f32. Prints a JSON line per step and one at the end with the median and the peak of resident memory. The Rust
counterpart is `lore bench`. Needs: pip install torch transformers peft.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import resource
import statistics
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
missing = [name for name in ("torch", "transformers", "peft") if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"missing Python packages; run: pip install {' '.join(missing)}")
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def decoder(layers):
    torch.manual_seed(layers)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=layers, num_attention_heads=9,
            num_key_value_heads=3, max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=1e5,
            tie_word_embeddings=True, use_cache=False, attn_implementation="sdpa",
        )
    )


def label_loss(model):
    return lambda ids: model(input_ids=ids, labels=ids).loss


def divergence(teacher, student):
    def loss(ids):
        with torch.no_grad():
            target = teacher(input_ids=ids).logits.float().log_softmax(-1).flatten(0, 1)
        scores = student(input_ids=ids).logits.float().log_softmax(-1).flatten(0, 1)
        return F.kl_div(scores, target, log_target=True, reduction="batchmean")

    return loss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["lora", "full", "distil"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--layers", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    if arguments.kind == "distil":
        teacher, model = decoder(arguments.layers).eval(), decoder(arguments.layers // 2)
        loss_of = divergence(teacher, model)
    else:
        model = decoder(arguments.layers)
        if arguments.kind == "lora":
            lora = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=16, target_modules=PROJECTIONS)
            model = get_peft_model(model, lora)
        loss_of = label_loss(model)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=True)
    bf16 = arguments.dtype == "bf16"
    precision = lambda: torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()

    ids = torch.randint(0, 49152, (arguments.batch, arguments.length))
    speeds = []
    for step in range(arguments.steps):
        start = time.perf_counter()
        with precision():
            loss = loss_of(ids)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        speeds.append(ids.numel() / seconds)
        line = {"step": step, "loss": round(loss.item(), 4), "seconds": round(seconds, 3)}
        print(json.dumps(line | {"tokens_per_second": round(speeds[-1], 1)}), flush=True)
    result = {
        "kind": arguments.kind, "dtype": arguments.dtype, "batch": arguments.batch, "length": arguments.length,
        "layers": arguments.layers, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "trained_parameters": sum(parameter.numel() for parameter in trained),
        "median_tokens_per_second": round(statistics.median(speeds), 1),
        # Linux counts in KiB.
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
