"""Whether two modules are the same to PEFT: loads each over a base and compares logits.

    python3 scripts/parity/same_in_peft.py BASE MODULE OTHER

Fails if PEFT misses or ignores a tensor of either, or if any logit differs by more than 1e-5.
Needs: pip install torch transformers peft.
"""

import sys
import warnings

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

# PEFT only warns about tensors it does not find.
warnings.filterwarnings("error", message=".*(missing|unexpected|not found).*")


def logits(base, module, ids):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), module).eval()
    with torch.no_grad():
        changed = model(ids).logits
        with model.disable_adapter():
            plain = model(ids).logits
    return plain, changed


base, *modules = sys.argv[1:]
torch.manual_seed(0)
ids = torch.randint(3, 300, (2, 64))
(plain, one), (_, other) = (logits(base, module, ids) for module in modules)
effect, difference = (plain - one).abs().max().item(), (one - other).abs().max().item()
print(f"effect on logits {effect:.3g}, largest difference {difference:.3g}")
sys.exit(0 if difference <= 1e-5 < effect else 1)
