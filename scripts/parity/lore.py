"""Running `lore score` from a script."""

import json
import subprocess
import tempfile
from pathlib import Path

BINARY = Path(__file__).resolve().parents[2] / "target" / "release" / "lore"


def score(binary, base, pairs, modules=()):
    """What Lore says of each (context, continuation), in order: `loglikelihood`, `tokens`, `is_greedy`.

    A module is its folder, or `FOLDER=WEIGHT`.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, scored = Path(folder) / "items.jsonl", Path(folder) / "scored.jsonl"
        lines = (json.dumps({"context": context, "continuation": continuation}) for context, continuation in pairs)
        source.write_text("".join(line + "\n" for line in lines))
        command = [binary, "--quiet", "score", "--base", base, "--input", source, "--output", scored]
        for module in modules:
            command += ["--module", module]
        subprocess.run(list(map(str, command)), check=True)
        return [json.loads(line) for line in scored.read_text().splitlines()]
