"""Holds the losses of twenty distillation steps against a plain PyTorch loop from the same start on the same batches.

    python3 scripts/parity/distil_curve.py --teacher FOLDER --texts FILE.txt [--steps 20] [--first 8] [--last 7]

FOLDER is a teacher as a Hugging Face repository (`lore convert SOURCE --out FOLDER`), FILE.txt any English of at least
10,000 characters. Lore is run with that text as its general English, every batch being all of its training windows, so that
their order does not matter. The loop here reads the same windows, drops the same blocks, takes forward KL at every position
and steps AdamW with the same schedule. Ends with status 1 when a loss differs by more than 1e-3 of itself.
Needs a release build of Lore and: pip install torch transformers.
"""

import argparse
import json
import math
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers

peers.need("torch", "transformers")
import torch

from lore import BINARY

LENGTH = 128
PEAK, WARMUP, FINAL = 5e-4, 3, 0.1


def recipe(arguments, corpus, batch):
    return f"""
name = "curve"
seed = 1
[teacher]
source = "file:{Path(arguments.teacher).resolve()}"
[general]
tokens = 100000
sequence_length = {LENGTH}
split = {{ validation = 0.15, test = 0.15 }}
[general.corpus]
source = "file:{corpus}"
[general.corpus.extract]
format = "text"
files = ["*.txt"]
[base]
name = "curve"
depth = {{ first = {arguments.first}, last = {arguments.last} }}
[base.train]
steps = {arguments.steps}
batch_sequences = {batch}
sequence_length = {LENGTH}
learning_rate = {PEAK}
warmup_steps = {WARMUP}
final_fraction = {FINAL}
[[topic]]
name = "unused"
source = "file:{corpus}"
[topic.extract]
format = "text"
files = ["*.txt"]
"""


def stage(runs, name):
    return next((runs / "curve" / "stages").glob(f"{name}-*"))


def windows(store):
    """Every document's part of every window: the sequences that attention runs in."""
    manifest = json.loads((store / "tokens.json").read_text())
    raw = (store / "tokens.bin").read_bytes()
    tokens = struct.unpack(f"<{len(raw) // 4}I", raw)
    index = (store / "documents.bin").read_bytes()
    offsets = struct.unpack(f"<{manifest['documents'] + 1}Q", index[: 8 * (manifest["documents"] + 1)])
    edges = sorted({*offsets, *range(0, len(tokens), LENGTH), len(tokens)})
    return [tokens[a:b] for a, b in zip(edges, edges[1:])], math.ceil(len(tokens) / LENGTH)


def rate(step, steps):
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    progress = (step - WARMUP) / (steps - WARMUP - 1)
    return PEAK * (FINAL + (1 - FINAL) * (1 + math.cos(math.pi * progress)) / 2)


def reference(arguments, sequences):
    """The loop's losses and its seconds a step."""
    teacher = peers.load_model(arguments.teacher)
    student = peers.load_model(arguments.teacher).train()
    layers = student.model.layers
    student.model.layers = torch.nn.ModuleList([*layers[: arguments.first], *layers[len(layers) - arguments.last :]])
    longest = max(map(len, sequences))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in sequences])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in sequences])
    real = mask.bool()
    with torch.no_grad():
        wanted = teacher(input_ids=ids, attention_mask=mask, use_cache=False).logits[real].log_softmax(-1)
    optimiser = torch.optim.AdamW(student.parameters(), lr=PEAK, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    losses, began = [], time.perf_counter()
    for step in range(arguments.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, arguments.steps)
        given = student(input_ids=ids, attention_mask=mask, use_cache=False).logits[real].log_softmax(-1)
        loss = (wanted.exp() * (wanted - given)).sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses, (time.perf_counter() - began) / arguments.steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--first", type=int, default=8)
    parser.add_argument("--last", type=int, default=7)
    parser.add_argument("--lore", default=BINARY)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        corpus, runs = folder / "corpus", folder / "runs"
        corpus.mkdir()
        text = arguments.texts.read_text()[:10_000]
        for number, start in enumerate(range(0, len(text), 500)):
            (corpus / f"{number:02}.txt").write_text(text[start : start + 500])

        def lore(batch, until):
            (folder / "recipe.toml").write_text(recipe(arguments, corpus, batch))
            command = [arguments.lore, "--quiet", "run", folder / "recipe.toml", "--runs-dir", runs, "--until", until]
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)

        lore(1, "general")
        sequences, count = windows(stage(runs, "general") / "tokens" / "train")
        lore(count, "base")
        metrics = [json.loads(line) for line in (stage(runs, "base") / "metrics.jsonl").read_text().splitlines()]
        ours = [line["loss"] for line in metrics]
        print(f"{len(sequences)} sequences, {sum(map(len, sequences))} tokens a step")
        theirs, seconds = reference(arguments, sequences)
    worst = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
    for step, (a, b) in enumerate(zip(ours, theirs)):
        print(f"step {step + 1:2}: Lore {a:.6f}, PyTorch {b:.6f}")
    of_lore = sum(line["seconds"] for line in metrics[1:]) / (len(metrics) - 1)
    print(f"seconds a step: Lore {of_lore:.2f} with the teacher, PyTorch {seconds:.2f} without it (read once here)")
    print(f"largest relative difference of {len(ours)} losses: {worst:.1e}")
    sys.exit(worst > 1e-3)


main()
