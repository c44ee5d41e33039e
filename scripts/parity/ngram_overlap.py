"""Evaluation items that share a run of words with a book, counted plainly: the reference of
datasets/tests/decontamination.rs.

    ngram_overlap.py BOOK.txt ITEMS.jsonl [--ngram 8]

Words are compared in lower case without punctuation; an item is its question and its choices. Runs do not go beyond a
section, which starts at a line with `# `.
"""

import argparse
import json
import re
from pathlib import Path


def words(text):
    plain = ("".join(c.lower() for c in word if c.isalnum()) for word in text.split())
    return [word for word in plain if word]


def runs(text, n):
    found = words(text)
    return {tuple(found[i:i + n]) for i in range(len(found) - n + 1)}


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("book", type=Path)
parser.add_argument("items", type=Path)
parser.add_argument("--ngram", type=int, default=8)
arguments = parser.parse_args()
book = set()
for section in re.split(r"(?m)^# .*$", arguments.book.read_text()):
    book |= runs(section, arguments.ngram)
items = [json.loads(line) for line in arguments.items.read_text().splitlines()]
hits = [item["id"] for item in items if runs(item["question"] + " " + " ".join(item["choices"]), arguments.ngram) & book]
print(f"{len(hits)} of {len(items)} items: {' '.join(hits)}")
