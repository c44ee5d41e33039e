"""The steps of `lore data build` with datasets, datasketch and tokenizers, for scripts/bench-data.

    data_pipeline.py CORPUS.jsonl TOKENIZER.json --threads 2 [--only-tokenise]

Needs datasketch 2. Cleaning: normalisation form C, control characters, the Gopher quality and repetition rules as datatrove counts them,
personal data by regular expressions. Duplicates: exact by hash, near by MinHash with 128 permutations over 5-word
shingles and LSH at 0.75, candidates compared exactly. Then tokenising. Prints one JSON object with seconds by step.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import time
import unicodedata
from collections import Counter

STOP = {"the", "be", "to", "of", "and", "that", "have", "with"}
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\u200b\u200e\u200f\ufeff\u00ad]")
PERSONAL = [
    (re.compile(r"[a-z0-9][a-z0-9.!#$%&'*+/=?^_`{|}~-]*@(?:[a-z0-9-]+\.)+[a-z]{2,24}\b", re.I), "[EMAIL]"),
    (re.compile(r"\+[1-9][0-9]{0,2}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{1,5}(?:[ .-]?[0-9]{2,5}){1,4}"
                r"|\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4}|\b[2-9][0-9]{2}-[2-9][0-9]{2}-[0-9]{4}\b"), "[PHONE]"),
    (re.compile(r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b"), "[IP_ADDRESS]"),
    (re.compile(r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,}|AIza[A-Za-z0-9_-]{35}|sk-[A-Za-z0-9_-]{32,}"
                r"|hf_[A-Za-z0-9]{30,}|xox[abeoprs]-[A-Za-z0-9-]{10,})"), "[TOKEN]"),
]


def repeated(parts, length):
    seen, count, characters = set(), 0, 0
    for part in parts:
        if part in seen:
            count += 1
            characters += len(part)
        seen.add(part)
    return count / max(1, len(parts)), characters / max(1, length)


def good(text):
    words = text.split()
    if not 50 <= len(words) <= 100_000:
        return False
    if not 3 <= sum(map(len, words)) / len(words) <= 10:
        return False
    if max(text.count("#"), text.count("...") + text.count("…")) / len(words) > 0.1:
        return False
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if sum(line.startswith(("•", "-", "*")) for line in lines) / len(lines) > 0.9:
        return False
    if sum(line.endswith(("...", "…")) for line in lines) / len(lines) > 0.3:
        return False
    if sum(any(c.isalpha() for c in word) for word in words) / len(words) < 0.8:
        return False
    if len(STOP & {word.strip(".,;:!?()").lower() for word in words}) < 2:
        return False
    if sum(len(line) < 30 for line in lines) / len(lines) >= 0.67:
        return False
    for parts in (lines, [part.strip() for part in text.split("\n\n") if part.strip()]):
        share, characters = repeated(parts, len(text))
        if share > 0.3 or characters > 0.2:
            return False
    for n, most in ((2, 0.2), (3, 0.18), (4, 0.16)):
        grams = Counter(" ".join(words[i:i + n]) for i in range(len(words) - n + 1))
        gram, count = grams.most_common(1)[0]
        if count > 1 and len(gram) * count / len(text) > most:
            return False
    for n, most in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1)):
        seen, total, at = set(), 0, 0
        while at + n <= len(words):
            gram = "".join(words[at:at + n])
            if gram in seen:
                total += len(gram)
                at += n
            else:
                seen.add(gram)
                at += 1
        if total / len(text) > most:
            return False
    return True


def clean(row):
    text = CONTROL.sub("", unicodedata.normalize("NFC", row["text"])).strip()
    keep = bool(text) and good(text)
    if keep:
        for pattern, placeholder in PERSONAL:
            text = pattern.sub(placeholder, text)
    return {"text": text, "keep": keep}


def normalised(text):
    return re.sub(r"[^\w\s]|_", "", text.lower()).split()


def shingles(text):
    words = normalised(text)
    return {" ".join(words[i:i + 5]) for i in range(max(1, len(words) - 4))}


def sign(row):
    from datasketch import MinHash

    minhash = MinHash(num_perm=128, seed=1)
    minhash.update_batch([shingle.encode() for shingle in shingles(row["text"])])
    return {"signature": minhash.hashvalues.tolist(), "exact": hashlib.md5(" ".join(normalised(row["text"])).encode()).hexdigest()}


def only_tokenise(arguments):
    from tokenizers import Tokenizer

    with open(arguments.corpus) as lines:
        texts = [json.loads(line)["text"] for line in lines]
    tokenizer = Tokenizer.from_file(arguments.tokenizer)
    begin, tokens = time.perf_counter(), 0
    for start in range(0, len(texts), 1000):
        tokens += sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts[start:start + 1000], add_special_tokens=False))
    print(json.dumps({"seconds": time.perf_counter() - begin, "tokens": tokens}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("tokenizer")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only-tokenise", action="store_true")
    arguments = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    if arguments.only_tokenise:
        return only_tokenise(arguments)
    import datasets
    import numpy
    from datasketch import MinHash, MinHashLSH
    from tokenizers import Tokenizer

    datasets.disable_caching()
    datasets.disable_progress_bars()
    seconds, begin = {}, time.perf_counter()

    def lap(name):
        nonlocal begin
        now = time.perf_counter()
        seconds[name] = now - begin
        begin = now

    rows = datasets.load_dataset("json", data_files=arguments.corpus, split="train")
    lap("read")
    rows = rows.map(clean, num_proc=arguments.threads).filter(lambda row: row["keep"])
    lap("clean")
    rows = rows.map(sign, num_proc=arguments.threads)
    index, seen, kept = MinHashLSH(threshold=0.75, num_perm=128), set(), []
    # A list: a column of datasets 4 would be decoded again for every text that is looked at.
    texts = list(rows["text"])
    for number, (signature, exact) in enumerate(zip(rows["signature"], rows["exact"])):
        if exact in seen:
            continue
        seen.add(exact)
        minhash = MinHash(num_perm=128, seed=1, hashvalues=numpy.array(signature, dtype=numpy.uint32), scheme="affine32")
        mine = None
        for other in index.query(minhash):
            mine = mine or shingles(texts[number])
            theirs = shingles(texts[other])
            if len(mine & theirs) / len(mine | theirs) >= 0.75:
                break
        else:
            index.insert(number, minhash)
            kept.append(number)
    lap("deduplicate")
    # datasets turns it off before it forks.
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    tokenizer = Tokenizer.from_file(arguments.tokenizer)
    tokens = 0
    for start in range(0, len(kept), 1000):
        batch = [texts[number] for number in kept[start:start + 1000]]
        tokens += sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False))
    lap("tokenise")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"seconds": seconds, "total": sum(seconds.values()), "documents": len(kept), "tokens": tokens, "peak_bytes": peak * 1024}))


if __name__ == "__main__":
    main()
