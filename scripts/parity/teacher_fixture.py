"""Writes model/tests/fixtures/teacher-logits.safetensors: logits of the quickstart's teacher by transformers.

    python3 scripts/parity/teacher_fixture.py SmolLM2-135M-Instruct.Q4_1.gguf

For the first 220 tokens of each text in scripts/parity/texts: `ids` [text, position]; `selected` [text, position, 64],
the 16 entries of highest logit from the highest down, then 48 spread over the vocabulary, others at each position;
their `logits`; and `log_sum_exp` [text, position] over the whole vocabulary. Read by model/tests/teacher_parity.rs.
"""

import sys
from pathlib import Path

from peers import load_model, load_tokenizer, need, teacher_texts

need("torch", "transformers", "safetensors", "gguf", "accelerate")
import torch
from safetensors.torch import save_file

FIXTURE = Path(__file__).resolve().parents[2] / "model" / "tests" / "fixtures" / "teacher-logits.safetensors"
LENGTH, HIGHEST, SPREAD = 220, 16, 48

if len(sys.argv) != 2:
    sys.exit(__doc__)
tokenizer, model = load_tokenizer(sys.argv[1]), load_model(sys.argv[1])
ids = [tokenizer.encode(text)[:LENGTH] for text in teacher_texts().values()]
assert all(len(row) == LENGTH for row in ids), "every text has as many tokens as are kept"
ids = torch.tensor(ids)
with torch.no_grad():
    logits = model(ids).logits
highest = logits.topk(HIGHEST, dim=-1).indices
stride = logits.shape[-1] // SPREAD
# 7919 is prime, so that offsets differ from position to position.
offsets = torch.arange(ids.numel()).view(*ids.shape, 1) * 7919 % stride
selected = torch.cat([highest, offsets + stride * torch.arange(SPREAD)], dim=-1)
chosen = logits.gather(-1, selected)
closest = (chosen[..., 0] - chosen[..., 1]).min().item()
# Logits may differ by 2e-3, which must not be enough for another most probable token.
assert closest > 4e-3, f"a text is undecided about a token (lead {closest:.2g}): word it differently"
tensors = {
    "ids": ids.int(),
    "selected": selected.to(torch.uint16),
    "logits": chosen,
    "log_sum_exp": logits.double().logsumexp(-1).float(),
}
save_file({name: values.contiguous() for name, values in tensors.items()}, FIXTURE)
print(f"{FIXTURE.name}: {FIXTURE.stat().st_size} bytes; smallest lead of a most probable token {closest:.2g}")
