"""Holds `lore eval` against lm-evaluation-harness: prompts, log-likelihoods, accuracies and wall time.

    python scripts/parity/harness.py --lore target/release/lore --model DIR --data DIR --limit 100 \
        [--sets arc_easy,piqa] [--blimp adjunct_island,anaphor_gender_agreement|all] [--mmlu anatomy,astronomy] \
        [--threads 2] [--blocks 4] [--sets-limit 300]

The harness runs unmodified through transformers: its own task files, of which only the place of the data is changed;
the records are put into the columns those files expect. MODEL is a Hugging Face directory (`lore convert`);
with --blocks only so many of its blocks are used, the first ones, by both: enough for the same numbers of one program
and the other, in a fraction of the time. Needs lm_eval, torch and transformers. Fails when a prompt differs, when a log-likelihood differs by more than a thousandth,
or when accuracies differ by more than one item of a set.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def cut(model, blocks, folder):
    """The first blocks of a model, as a model of its own."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    model = Path(model)
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": blocks}))
    kept = {}
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            for name in file.keys():
                block = re.search(r"\.layers\.(\d+)\.", name)
                if not block or int(block.group(1)) < blocks:
                    kept[name] = file.get_tensor(name)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def task_file(root, relative):
    """A task file of the harness with what it includes, without functions and the hub's data."""
    import yaml

    path = root / relative
    config = yaml.safe_load(path.read_text())
    if "include" in config:
        config = {**task_file(root, (path.parent / config.pop("include")).relative_to(root)), **config}
    return config


def harness_tasks(arguments, folder):
    """Configurations by name, each with its records written where the harness finds them."""
    import lm_eval

    root = Path(lm_eval.__file__).parent / "tasks"
    data = Path(arguments.data)
    tasks = {}

    def add(name, relative, records, limit):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records[:limit]))
        config = task_file(root, relative)
        for key in ["dataset_name", "training_split", "validation_split", "test_split", "fewshot_split", "tag", "group"]:
            config.pop(key, None)
        config.update(task=name, dataset_path="json", test_split="test", num_fewshot=0)
        config["dataset_kwargs"] = {"data_files": {"test": str(path)}}
        config.pop("fewshot_config", None)
        tasks[name] = config

    with zipfile.ZipFile(data / "blimp/BLiMP.zip") as archive:
        for name in filter(None, arguments.blimp.split(",")):
            records = [json.loads(line) for line in archive.read(f"data/{name}.jsonl").splitlines()]
            add(f"blimp_{name}", f"blimp/{name}.yaml", records, arguments.limit)
    arc = [] if "arc_easy" not in arguments.sets.split(",") else [
        {
            "question": r["question"],
            "choices": {"text": r["choices"], "label": list("ABCDEFGH"[: len(r["choices"])])},
            "answerKey": "ABCDEFGH"[r["answer"]],
        }
        for r in lines(data / "arc_easy/test.jsonl")
    ]
    if arc:
        add("arc_easy", "arc/arc_easy.yaml", arc, arguments.sets_limit)
    piqa = [] if "piqa" not in arguments.sets.split(",") else [
        {"goal": r["question"], "sol1": r["choices"][0], "sol2": r["choices"][1], "label": r["answer"]}
        for r in lines(data / "piqa/valid.jsonl")
    ]
    if piqa:
        add("piqa", "piqa/piqa.yaml", piqa, arguments.sets_limit)
    for name in filter(None, arguments.mmlu.split(",")):
        add(f"mmlu_{name}", f"mmlu/default/mmlu_{name}.yaml", lines(data / f"mmlu/{name}.jsonl"), arguments.sets_limit)
    return tasks


def run_harness(arguments, folder):
    began = time.time()
    import lm_eval
    import torch
    from lm_eval.models.huggingface import HFLM

    loading = time.time() - began
    torch.set_num_threads(arguments.threads)
    configs = list(harness_tasks(arguments, folder).values())
    began = time.time()
    model = HFLM(pretrained=arguments.model, dtype="float32", device="cpu", batch_size=arguments.batch_size)
    loading += time.time() - began
    began = time.time()
    found = lm_eval.simple_evaluate(model=model, tasks=configs, log_samples=True, bootstrap_iters=0, verbosity="ERROR")
    seconds = time.time() - began
    samples = {
        name: [
            (
                [list(argument[:2]) for argument in sample["arguments"]],
                [float(response[0][0]) for response in sample["resps"]],
                sample["acc"],
                sample.get("acc_norm"),
            )
            for sample in sorted(samples, key=lambda sample: sample["doc_id"])
        ]
        for name, samples in found["samples"].items()
    }
    return samples, seconds, loading


def run_lore(arguments, folder):
    # All sets are one task; each by its name would read all of them anew.
    tasks = ["blimp"] if arguments.whole_blimp else [f"blimp/{name}" for name in filter(None, arguments.blimp.split(","))]
    tasks += list(filter(None, arguments.sets.split(","))) + [f"mmlu/{name}" for name in filter(None, arguments.mmlu.split(","))]
    seconds = 0.0
    # Two limits are two runs, and the model is loaded twice.
    for limit in sorted({arguments.limit, arguments.sets_limit}):
        of_limit = [task for task in tasks if limit == (arguments.limit if task.startswith("blimp") else arguments.sets_limit)]
        if not of_limit:
            continue
        command = [arguments.lore, "eval", "--base", arguments.model, "--data", arguments.data]
        command += ["--out", str(folder / str(limit)), "--limit", str(limit), "--fresh", "--no-answer-only", "--quiet"]
        command += ["--threads", str(arguments.threads)] + [part for task in of_limit for part in ("--task", task)]
        began = time.time()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds += time.time() - began
    samples = {}
    for path in sorted(folder.glob("*/lm-eval/samples_*.jsonl")):
        name = path.stem.removeprefix("samples_").rsplit("_", 1)[0]
        samples[name] = [
            (
                [[argument["arg_0"], argument["arg_1"]] for _, argument in sorted(sample["arguments"].items())],
                [float(response[0]) for response in sample["filtered_resps"]],
                sample["acc"],
                sample.get("acc_norm"),
            )
            for sample in lines(path)
        ]
    return samples, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lore", default="target/release/lore")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=100, help="items of each set")
    parser.add_argument("--sets-limit", type=int, help="items of each set but BLiMP's [default: --limit]")
    parser.add_argument("--blocks", type=int, help="only the first blocks of the model")
    parser.add_argument("--blimp", default="adjunct_island,anaphor_gender_agreement,principle_A_case_1")
    parser.add_argument("--sets", default="arc_easy,piqa")
    parser.add_argument("--mmlu", default="anatomy,astronomy")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()
    arguments.sets_limit = arguments.sets_limit or arguments.limit
    arguments.whole_blimp = arguments.blimp == "all"
    if arguments.whole_blimp:
        with zipfile.ZipFile(Path(arguments.data) / "blimp/BLiMP.zip") as archive:
            names = [Path(name).stem for name in archive.namelist() if name.startswith("data/") and name.endswith(".jsonl")]
        arguments.blimp = ",".join(sorted(names))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "out").mkdir()
        if arguments.blocks:
            arguments.model = cut(arguments.model, arguments.blocks, folder / "model")
        ours, our_seconds = run_lore(arguments, folder / "out")
        theirs, their_seconds, their_loading = run_harness(arguments, folder)
    wrong, overall = [], 0.0
    print(f"{'task':<36} {'items':>5} {'acc':>7} {'theirs':>7} {'norm':>7} {'theirs':>7} {'worst relative':>15}")
    for name, expected in theirs.items():
        found = ours[name]
        if len(found) != len(expected):
            wrong.append(f"{name}: {len(found)} items instead of {len(expected)}")
            continue
        worst = 0.0
        for number, (a, b) in enumerate(zip(found, expected)):
            if a[0] != b[0]:
                wrong.append(f"{name}, item {number}: prompts {a[0]!r} and {b[0]!r}")
            for x, y in zip(a[1], b[1]):
                worst = max(worst, abs(x - y) / max(abs(y), 1e-9))
        overall = max(overall, worst)
        count = len(found)
        norm = lambda side: sum(sample[3] or 0 for sample in side) / count if side[0][3] is not None else float("nan")
        acc = lambda side: sum(sample[2] for sample in side) / count
        print(
            f"{name:<36} {count:>5} {acc(found):>7.4f} {acc(expected):>7.4f} {norm(found):>7.4f} {norm(expected):>7.4f} {worst:>15.2e}"
        )
        if worst > 1e-3:
            wrong.append(f"{name}: log-likelihoods differ by {worst:.2e}")
        if abs(acc(found) - acc(expected)) * count > 1.0 + 1e-9:
            wrong.append(f"{name}: accuracies differ by more than an item")
    print(f"{len(theirs)} sets, {sum(map(len, theirs.values()))} items, worst relative difference {overall:.2e}")
    whole = their_seconds + their_loading
    print(f"wall time: lore {our_seconds:.1f} s with loading, lm-evaluation-harness {their_seconds:.1f} s without and {whole:.1f} s with "
          f"loading: {their_seconds / our_seconds:.3f} and {whole / our_seconds:.3f} times as fast")
    for problem in wrong[:10]:
        print(problem, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
