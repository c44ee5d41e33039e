"""Holds lm-evaluation-harness, talking to `lore serve`, against `lore score`.

    python scripts/parity/serve.py --lore target/release/lore --model DIR --data DIR [--library DIR] [--limit 20]
        [--models base,base+NAME=0.5] [--batch-size 8] [--tasks arc_easy,piqa]

The harness runs unmodified with its own `local-completions` model and its own task files, of which only the place of
the data is changed. MODEL is a Hugging Face directory, LIBRARY a folder of modules for it. Every model name is asked;
`lore score` gets the same contexts, continuations and modules. Needs lm_eval, transformers and tenacity. Fails when a
log-likelihood differs by more than 1e-4 relative, when one is greedy on one side only, or when accuracies differ.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import lore
from harness import harness_tasks


class Server:
    """`lore serve` on a free port, ended with SIGTERM."""

    def __init__(self, arguments):
        command = [arguments.lore, "serve", "--base", arguments.model, "--port", "0", "--threads", arguments.threads]
        if arguments.library:
            command += ["--library", arguments.library]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http://"):
            sys.exit("the server did not start")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(60)
        if code:
            sys.exit(f"the server ended with {code}")


def ask(arguments, url, name, configs):
    """Samples of each task as ((context, continuation), ...), ((log-likelihood, greedy), ...), right, by document."""
    import lm_eval

    found = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "model": name,
            "base_url": f"{url}/completions",
            "tokenizer_backend": "huggingface",
            "tokenizer": arguments.model,
            "num_concurrent": 1,
            "max_retries": 1,
        },
        batch_size=arguments.batch_size,
        tasks=configs,
        log_samples=True,
        bootstrap_iters=0,
    )
    samples = {}
    for task, documents in found["samples"].items():
        samples[task] = [
            (
                [tuple(argument[:2]) for argument in document["arguments"]],
                [(float(response[0][0]), str(response[0][1]) == "True") for response in document["resps"]],
                document["acc"],
                document["doc"],
            )
            for document in sorted(documents, key=lambda document: document["doc_id"])
        ]
    accuracies = {task: result["acc,none"] for task, result in found["results"].items()}
    return samples, accuracies


def modules_of(arguments, name):
    """The folders of `base+a=0.5+b` as `lore score` takes them."""
    return [f"{arguments.library}/{module}" for module in name.split("+")[1:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lore", default=lore.BINARY)
    parser.add_argument("--model", required=True)
    parser.add_argument("--library")
    parser.add_argument("--models", default="base")
    parser.add_argument("--data", required=True)
    parser.add_argument("--tasks", default="arc_easy,piqa")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    arguments.sets_limit = arguments.limit
    arguments.sets, arguments.blimp, arguments.mmlu = arguments.tasks, "", ""
    os.environ.setdefault("OPENAI_API_KEY", "none")
    wrong = []
    print(f"{'model':<28} {'task':<10} {'scores':>6} {'acc':>7} {'score':>7} {'worst relative':>15} {'seconds':>8}")
    with tempfile.TemporaryDirectory() as folder, Server(arguments) as server:
        tasks = harness_tasks(arguments, Path(folder))
        tasks = {name: config for name, config in tasks.items() if name in arguments.tasks.split(",")}
        for name in arguments.models.split(","):
            began = time.time()
            samples, accuracies = ask(arguments, server.url, name, list(tasks.values()))
            seconds = time.time() - began
            for task, documents in samples.items():
                pairs = [pair for requests, *_ in documents for pair in requests]
                served = [answer for _, answers, *_ in documents for answer in answers]
                scored = lore.score(arguments.lore, arguments.model, pairs, modules_of(arguments, name))
                worst = max(abs(a - b["loglikelihood"]) / abs(b["loglikelihood"]) for (a, _), b in zip(served, scored))
                greedy = sum(a != b["is_greedy"] for (_, a), b in zip(served, scored))
                # The harness's rule: the first of the largest sums.
                place, right = 0, 0
                for requests, _, _, document in documents:
                    own = [item["loglikelihood"] for item in scored[place : place + len(requests)]]
                    place += len(requests)
                    gold = document["label"] if "label" in document else document["choices"]["label"].index(document["answerKey"])
                    right += own.index(max(own)) == gold
                accuracy = right / len(documents)
                print(
                    f"{name:<28} {task:<10} {len(pairs):>6} {accuracies[task]:>7.4f} {accuracy:>7.4f} {worst:>15.2e} {seconds:>8.1f}"
                )
                if worst > 1e-4:
                    wrong.append(f"{name}, {task}: log-likelihoods differ by {worst:.2e}")
                if greedy:
                    wrong.append(f"{name}, {task}: {greedy} are greedy on one side only")
                if accuracies[task] != accuracy:
                    wrong.append(f"{name}, {task}: accuracies {accuracies[task]} and {accuracy}")
    for problem in wrong:
        print(problem, file=sys.stderr)
    print("FAIL" if wrong else "PASS")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
