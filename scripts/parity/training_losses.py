"""Writes finetune/tests/fixtures/losses.json and finetune/tests/fixtures/start: losses of 20 steps in PEFT for LoRA, rsLoRA,
patterns, DoRA, LoRA+ and PiSSA over model/tests/fixtures/tiny-llama, from the same factors A and the same batches.

    python3 scripts/parity/training_losses.py

`cargo test -p lore-finetune --test peft_losses` makes the same steps here and compares.
Needs: pip install torch transformers peft.
"""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "model" / "tests" / "fixtures" / "tiny-llama"
FOLDER = ROOT / "finetune" / "tests" / "fixtures"
STEPS, SEQUENCES, LENGTH, VOCABULARY = 20, 4, 16, 320
OPTIMISER = dict(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
METHODS = {
    "lora": dict(r=4, lora_alpha=8),
    "rslora": dict(r=4, lora_alpha=8, use_rslora=True),
    "patterns": dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"],
        rank_pattern={"v_proj": 2, "layers.0.self_attn.q_proj": 3}, alpha_pattern={"down_proj": 20},
    ),
    "dora": dict(r=4, lora_alpha=8, use_dora=True),
    "loraplus": dict(r=4, lora_alpha=8),
    "pissa": dict(r=4, lora_alpha=8, init_lora_weights="pissa"),
}


def batches():
    """Token ids [steps, sequences, length + 1]: a few phrases over and over, so that there is something to learn."""
    generator = torch.Generator().manual_seed(11)
    phrases = torch.randint(VOCABULARY, (6, LENGTH + 1), generator=generator)
    return phrases[torch.randint(6, (STEPS, SEQUENCES), generator=generator)]


def model_for(settings, start):
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **{"target_modules": ALL, **settings})).train()
    if settings.get("init_lora_weights") != "pissa":
        with torch.no_grad():
            for key, values in model.named_parameters():
                if "lora_A" in key:
                    # The first rows of the largest A, for every rank.
                    values.copy_(start[key][: values.shape[0]])
    return model


def train(name, settings, tokens, start):
    model = model_for(settings, start)
    rate = 5e-3
    if name == "loraplus":
        optimiser = create_loraplus_optimizer(
            model, optimizer_cls=torch.optim.AdamW, lr=rate, loraplus_lr_ratio=16, loraplus_weight_decay=0.0, **OPTIMISER
        )
    else:
        trained = [values for values in model.parameters() if values.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=rate, **OPTIMISER)
    losses = []
    for batch in tokens:
        logits = model(batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return {"settings": settings, "rate": rate, "losses": losses}


def main():
    torch.set_num_threads(1)
    tokens = batches()
    torch.manual_seed(5)
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    first = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=ALL))
    start = {key: values.detach().clone() for key, values in first.named_parameters() if "lora_A" in key}
    folder = FOLDER / "start"
    shutil.rmtree(folder, ignore_errors=True)
    first.peft_config["default"].base_model_name_or_path = "tiny-llama"
    first.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    methods = {name: train(name, settings, tokens, start) for name, settings in METHODS.items()}
    for name, method in methods.items():
        print(f"{name}: {method['losses'][0]:.4f} to {method['losses'][-1]:.4f}")
    text = json.dumps({"tokens": tokens.tolist(), "methods": methods}, separators=(",", ":"))
    (FOLDER / "losses.json").write_text(text + "\n")


main()
