"""Whether a converted teacher is the same model: transformers on the GGUF file, transformers on Lore's conversion of
it, and Lore's own scores, on three texts of 220 tokens or more.

    lore convert TEACHER.gguf --out converted
    python3 scripts/parity/teacher_logits.py TEACHER.gguf converted [LORE_BINARY]

Logits over the whole vocabulary may differ by 2e-3, the most probable token nowhere, and Lore's log-likelihoods of
words in their context by 2e-3 a token. Lore's own logits are compared by the test that teacher_fixture.py makes the
fixture for:

    LORE_TEACHER_GGUF=TEACHER.gguf cargo test --release -p lore-model --test teacher_parity -- --nocapture
"""

import sys

import lore
from peers import load_model, load_tokenizer, need, teacher_texts

need("torch", "transformers", "safetensors", "gguf", "accelerate")
import torch

from loglikelihood import loglikelihood, split

LARGEST, EVERY = 2e-3, 12

if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
gguf, converted, binary = (*sys.argv[1:], lore.BINARY)[:3]
reference, model = load_model(gguf), load_model(converted)
reference_tokenizer, tokenizer = load_tokenizer(gguf), load_tokenizer(converted)
good = True
pairs = []
for name, text in teacher_texts().items():
    ids = reference_tokenizer.encode(text)
    with torch.no_grad():
        expected, logits = (each(torch.tensor([ids])).logits[0] for each in (reference, model))
    difference = (expected - logits).abs().max().item()
    same = (expected.argmax(-1) == logits.argmax(-1)).sum().item()
    same_ids = tokenizer.encode(text) == ids
    print(f"{name}: {len(ids)} tokens, same ids {same_ids}, logits differ by {difference:.2g}, top-1 {same}/{len(ids)}")
    good &= len(ids) >= 200 and same_ids and same == len(ids) and difference <= LARGEST
    blanks = [at for at, character in enumerate(text) if character == " "]
    pairs += [(text[:start], text[start:stop]) for start, stop in list(zip(blanks, blanks[1:]))[::EVERY]]

expected = [split(reference_tokenizer, *pair) for pair in pairs]
expected = [(len(continuation), *loglikelihood(reference, context, continuation)) for context, continuation in expected]
for source in (gguf, converted):
    scored = lore.score(binary, source, pairs)
    tokens = all(mine["tokens"] == count for mine, (count, *_) in zip(scored, expected))
    greedy = all(mine["is_greedy"] == most for mine, (*_, most) in zip(scored, expected))
    differences = [abs(mine["loglikelihood"] - total) / count for mine, (count, total, _) in zip(scored, expected)]
    kind = "GGUF" if source == gguf else "converted"
    print(
        f"lore score on the {kind}: {len(pairs)} words, same token counts {tokens}, same greedy {greedy}, "
        f"largest difference a token {max(differences):.2g}"
    )
    good &= tokens and greedy and max(differences) <= LARGEST
print("PASS" if good else "FAIL")
sys.exit(0 if good else 1)
