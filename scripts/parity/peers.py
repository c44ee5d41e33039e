"""Reference implementations the parity scripts compare with, and how a model is loaded into them."""

import importlib.util
import os
import sys
from pathlib import Path

# Every model here is a local file; nothing is asked of a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")


def need(*packages):
    """Ends the script, saying what to install, unless every package can be imported."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        sys.exit(f"missing Python packages; run: pip install {' '.join(missing)}")


def load_model(path):
    """A model in f32 for evaluation, from a Hugging Face folder or a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM

    path = Path(path)
    source = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    folder = path.parent if source else path
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **source).eval()


def load_tokenizer(path):
    """The tokenizer of a Hugging Face folder, or transformers' reconstruction of a GGUF file's.

    For SmolLM2 transformers leaves out the step that cuts digits apart, which the published tokenizer.json has and
    llama.cpp's `smollm` does; it is put back here.
    """
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    path = Path(path)
    if path.suffix != ".gguf":
        return AutoTokenizer.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def teacher_texts():
    """The three texts the teacher's logits are compared on, by name."""
    return {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "texts").glob("*.txt"))}
