"""Whether `lore score` gives transformers' log-likelihoods, and does not depend on the other items of its input.

    python3 scripts/parity/score.py BASE [LORE_BINARY] [--module FOLDER] [--data FOLDER] [--items 200]

Items are contexts with continuations from ARC-easy, PIQA and MMLU (arc_easy/test.jsonl, piqa/valid.jsonl and
mmlu/*.jsonl under --data; skipped if absent), all choices of a question, and a few with odd spaces. transformers scores
each alone, in f32. They must agree within 1e-3 relative; scores of the same items shuffled, twice over, or alone
within 1e-5.
"""

import argparse
import json
import random
import sys
from pathlib import Path

import lore
from peers import load_model, load_tokenizer, need

need("torch", "transformers", "safetensors", "accelerate")
from loglikelihood import loglikelihood, prefix_token, split

ODD = [
    ("", "Once upon a time there was a king."),
    ("The capital of France is ", "Paris"),
    ("The capital of France is  \n ", " Paris, of course."),
    ("1 + 1 =", " 2\n\n2 + 2 = 4"),
    ("def double(x):\n", "    return 2 * x\n"),
    ("Zoë said: “naïve", "té” — and laughed 🙂"),
    ("The rain in Sp", "ain stays mainly in the plain."),
    ("\tnoon", "\t12:00\t"),
]


def read_items(data, count):
    """About `count` (context, continuation), a question of each source in turn, with all its choices."""
    arc, piqa = data / "arc_easy" / "test.jsonl", data / "piqa" / "valid.jsonl"
    mmlu = sorted((data / "mmlu").glob("*.jsonl"))
    if not (arc.is_file() and piqa.is_file() and mmlu):
        print(f"SKIPPED: arc_easy/test.jsonl, piqa/valid.jsonl and mmlu/*.jsonl are not in {data}")
        sys.exit(0)
    read = lambda path: [json.loads(line) for line in path.read_text().splitlines()]
    choose = random.Random(7)
    sources = [read(arc), read(piqa), [question for path in mmlu for question in read(path)]]
    for questions in sources:
        choose.shuffle(questions)
    pairs = list(ODD)
    for turn in zip(*sources):
        for question in turn:
            if len(pairs) >= count:
                return pairs
            pairs += [(f"Question: {question['question']}\nAnswer:", f" {choice}") for choice in question["choices"]]
    return pairs


def check_split(tokenizer, pairs):
    """Compares the splitting rule with lm-evaluation-harness itself, where it is installed."""
    try:
        from lm_eval.api.model import TemplateLM
    except ImportError:
        print("lm_eval is not installed: its splitting rule was not run beside this one")
        return True

    class Encoder:
        backend = "causal"

        def tok_encode(self, text, **options):
            return tokenizer.encode(text, **options)

    pairs = [pair for pair in pairs if pair[0]]
    same = sum(tuple(TemplateLM._encode_pair(Encoder(), *pair)) == split(tokenizer, *pair) for pair in pairs)
    print(f"split as lm_eval splits them: {same}/{len(pairs)}")
    return same == len(pairs)


def relative(mine, expected):
    return [abs(a - b) / abs(b) for a, b in zip(mine, expected)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("lore", nargs="?", default=lore.BINARY)
    parser.add_argument("--module")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--items", type=int, default=200)
    arguments = parser.parse_args()
    modules = [arguments.module] if arguments.module else []
    pairs = read_items(arguments.data, arguments.items)
    tokenizer, model = load_tokenizer(arguments.base), load_model(arguments.base)
    if modules:
        need("peft")
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, arguments.module).eval()
    good = check_split(tokenizer, pairs)

    run = lambda items: lore.score(arguments.lore, arguments.base, items, modules)
    scored = run(pairs)
    first = [item["loglikelihood"] for item in scored]
    requests = [split(tokenizer, *pair) for pair in pairs]
    expected = [loglikelihood(model, *request) for request in requests]
    counts = sum(item["tokens"] == len(continuation) for item, (_, continuation) in zip(scored, requests))
    greedy = sum(item["is_greedy"] == most for item, (_, most) in zip(scored, expected))
    differences = relative(first, [total for total, _ in expected])
    print(f"{len(pairs)} items, an empty context is token {prefix_token(tokenizer)}")
    print(f"same token counts {counts}, same greedy {greedy}")
    print(f"against transformers: largest relative difference {max(differences):.2g} (allowed 1e-3)")
    for pair, difference in zip(pairs, differences):
        if difference > 1e-3:
            print(f"    {difference:.2g}: {pair}")
    good &= counts == greedy == len(pairs) and max(differences) <= 1e-3

    order = list(range(len(pairs)))
    random.Random(11).shuffle(order)
    doubled = order + order[::3]
    random.Random(12).shuffle(doubled)
    alone = order[:3]
    for name, chosen, results in [
        ("shuffled", order, run([pairs[i] for i in order])),
        ("shuffled with a third twice", doubled, run([pairs[i] for i in doubled])),
        ("alone", alone, [run([pairs[i]])[0] for i in alone]),
    ]:
        difference = max(relative([item["loglikelihood"] for item in results], [first[i] for i in chosen]))
        print(f"{name}: {len(chosen)} items, largest relative difference {difference:.2g} (allowed 1e-5)")
        good &= difference <= 1e-5
    print("PASS" if good else "FAIL")
    sys.exit(0 if good else 1)


main()
