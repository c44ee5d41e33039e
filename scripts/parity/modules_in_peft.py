"""Whether a base and modules that Lore wrote are the same in transformers + PEFT.

    python3 scripts/parity/modules_in_peft.py BASE MODULE... [--lore BINARY]

Fails if transformers or PEFT misses or ignores a tensor. Each module alone, and the first two at weight 0.5 (PEFT's
`cat`, which it does not have for DoRA), is compared with `lore score`: for 12 contexts, 16 tokens from the most probable to improbable ones are scored.
Differences of scores within a context are differences of logits; they may be 2e-3, as may the scores themselves.
A module must change some score by 0.01, so that one that is ignored is noticed.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import lore
from peers import load_model, load_tokenizer, need, teacher_texts

need("torch", "transformers", "safetensors", "peft", "accelerate")
import torch
from peft import PeftModel

from loglikelihood import split

LARGEST, EFFECT, CANDIDATES = 2e-3, 0.01, 16

# PEFT only warns about tensors it does not find.
warnings.filterwarnings("error", message=".*(missing|unexpected|not found).*")


def contexts():
    """Beginnings of the texts, each ending with a word."""
    for text in teacher_texts().values():
        for at in (60, 180, 320, 480):
            yield text[: text.index(" ", at)]


@torch.no_grad()
def requests(model, tokenizer):
    """(context, continuation) of one token, with the token; tokens are taken evenly from the ranking."""
    for context in contexts():
        ids = tokenizer.encode(context)
        ranking = model(torch.tensor([ids])).logits[0, -1].argsort(descending=True).tolist()
        found = 0
        for start in range(CANDIDATES):
            # The next token of the ranking that is a text of its own and stays one token after this context.
            for token in ranking[start * len(ranking) // CANDIDATES :]:
                text = tokenizer.decode([token])
                if text.strip() and "\ufffd" not in text and split(tokenizer, context, text) == (ids, [token]):
                    yield context, text, token
                    found += 1
                    break
        assert found == CANDIDATES, "every rank is followed by some usable token"


@torch.no_grad()
def expected(model, tokenizer, items):
    scores = {}
    for context, _, _ in items:
        if context not in scores:
            logits = model(torch.tensor([tokenizer.encode(context)])).logits[0, -1]
            scores[context] = logits.double().log_softmax(-1)
    return torch.tensor([scores[context][token] for context, _, token in items])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--lore", default=lore.BINARY)
    arguments = parser.parse_args()
    tokenizer, base = load_tokenizer(arguments.base), load_model(arguments.base)
    items = list(requests(base, tokenizer))
    plain = expected(base, tokenizer, items)

    def compare(name, reference, modules):
        pairs = [(context, text) for context, text, _ in items]
        scored = lore.score(arguments.lore, arguments.base, pairs, modules)
        assert all(item["tokens"] == 1 for item in scored), "one token is scored at a time"
        error = (torch.tensor([item["loglikelihood"] for item in scored]).double() - reference).view(-1, CANDIDATES)
        scores = error.abs().max().item()
        logits = (error.max(dim=1).values - error.min(dim=1).values).max().item()
        effect = (reference - plain).abs().max().item()
        print(f"{name}: {len(items)} scores differ by {scores:.2g}, logits by {logits:.2g}; effect {effect:.2g}")
        return max(scores, logits) <= LARGEST and (not modules or effect >= EFFECT)

    good = compare("base", plain, [])
    model = None
    for at, module in enumerate(arguments.modules):
        if model is None:
            model = PeftModel.from_pretrained(base, module, adapter_name="module0").eval()
        else:
            model.load_adapter(module, adapter_name=f"module{at}")
        model.set_adapter(f"module{at}")
        good &= compare(module, expected(model, tokenizer, items), [module])
    first = arguments.modules[:2]
    if len(first) == 2 and not any(json.loads((Path(m) / "adapter_config.json").read_text())["use_dora"] for m in first):
        model.add_weighted_adapter(["module0", "module1"], [0.5, 0.5], adapter_name="both", combination_type="cat")
        model.set_adapter("both")
        halves = [f"{module}=0.5" for module in first]
        good &= compare(" + ".join(halves), expected(model, tokenizer, items), halves)
    print("PASS" if good else "FAIL")
    sys.exit(0 if good else 1)


main()
