"""Whether Lore's tokenizer gives the ids that llama.cpp and transformers give, line by line.

    lore convert TEACHER.gguf --out converted
    python3 scripts/parity/tokenizer_ids.py TEACHER.gguf converted FILE_OR_FOLDER...

Folders are searched for text.txt, test.txt and *.jsonl. About 30,000 lines are taken evenly, beside made-up lines
that tokenizers get wrong. llama.cpp is the independent reference; transformers' reconstruction from the GGUF file
(with digits cut apart, see peers.py) is the second. Special tokens in a text are recognised by all three.
"""

import http.client
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from peers import load_tokenizer, need

need("transformers", "tokenizers", "gguf", "accelerate", "torch", "xllamacpp")
import xllamacpp
from tokenizers import Tokenizer

sys.path.append(str(Path(__file__).resolve().parents[1] / "fixtures"))
from varied_lines import varied_lines

LINES = 30_000


def read_lines(paths):
    """Lines by file; of JSON lines, every text in them."""
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    for file in files:
        if file.suffix == ".jsonl":
            for line in file.read_text().splitlines():
                values = json.loads(line).values()
                texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
                yield from (text for text in texts if isinstance(text, str) and text)
        elif file.is_file() and (file.suffix == ".txt" and file.stem in ("text", "test", "valid") or file in paths):
            yield from (line for line in file.read_text().splitlines() if line)


class LlamaCpp:
    """llama.cpp's own tokenizer, asked through its server inside this process."""

    def __init__(self, gguf):
        params = xllamacpp.CommonParams()
        params.model.path = str(gguf)
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 256, 1, False, -1
        self.server = xllamacpp.Server(params)
        address = self.server.listening_address
        self.connection = http.client.HTTPConnection(urlsplit(address if "//" in address else f"//{address}").netloc)

    def encode(self, text):
        body = json.dumps({"content": text, "add_special": False, "parse_special": True})
        self.connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
        return json.loads(self.connection.getresponse().read())["tokens"]


if len(sys.argv) < 4:
    sys.exit(__doc__)
gguf, converted, *paths = map(Path, sys.argv[1:])
absent = [str(path) for path in paths if not path.exists()]
if absent:
    print(f"SKIPPED: no texts at {', '.join(absent)}")
    sys.exit(0)
lines = list(read_lines(paths))
lines = lines[:: max(1, len(lines) // LINES)] + [line for line in varied_lines() if line]
ours = Tokenizer.from_file(str(converted / "tokenizer.json"))
theirs, third = LlamaCpp(gguf), load_tokenizer(gguf).backend_tokenizer
tokens, wrong = 0, {"llama.cpp": [], "transformers": []}
for line in lines:
    ids = ours.encode(line).ids
    tokens += len(ids)
    if theirs.encode(line) != ids:
        wrong["llama.cpp"].append(line)
    if third.encode(line).ids != ids:
        wrong["transformers"].append(line)
print(f"{len(lines)} lines, {tokens} tokens")
for name, different in wrong.items():
    print(f"{name}: {len(lines) - len(different)} lines with the same ids, {len(different)} different")
    for line in different[:5]:
        print(f"    {line[:100]!r}")
good = len(lines) >= 10_000 and not any(wrong.values())
print("PASS" if good else "FAIL")
sys.exit(0 if good else 1)
