#!/usr/bin/env python3
"""docs/examples/generate tokenizes as the library "tokenizers" does.

    generate_tokens.py --write      writes tests/examples/tokens.json, which the plain tests compare with
    generate_tokens.py OCTAVO GENERATE WORK FOLDER…
                                    checks that file, the table of Unicode classes, and long random texts with the
                                    tokenizer of each model folder and with every pre-tokenizer
"""

import json
import pathlib
import random
import subprocess
import sys

from tokenizers import Tokenizer

import unicode_tables

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOVELS = ROOT / "tests/data/models/llama-novels"
RECORDED = ROOT / "tests/examples/tokens.json"

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
NO_REGEX = {**BYTE_LEVEL, "use_regex": False}
SPLIT_NUMBERS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                 r"|\s+(?!\S)|\s+")


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def split(numbers):
    return {"type": "Split", "pattern": {"Regex": SPLIT_NUMBERS % numbers}, "behavior": "Isolated", "invert": False}


PRE_TOKENIZERS = {
    "gpt2": BYTE_LEVEL,
    "smollm": sequence({"type": "Digits", "individual_digits": True}, BYTE_LEVEL),
    "digit runs": sequence({"type": "Digits", "individual_digits": False}, BYTE_LEVEL),
    "llama3": sequence(split("{1,3}"), NO_REGEX),
    "qwen2": sequence(split(""), NO_REGEX),
    "no pieces": NO_REGEX,
}

TEXTS = [
    "My name is",
    " leading and  double   spaces, and at the end  ",
    "It's, they're; I'VE we'll he'd 'tis 'S 'Re don'tt 'x '",
    "In 1815 there were 12345678 readers, 3.14159 and ١٢٣ and Ⅷ and ²",
    "tabs\tand\nnew\n\nlines\r\n  indented\n \n\t\n",
    "naïve café, Ελληνικά, русский, 日本語のテキスト, العربية, हिन्दी, ไทย",
    "emoji 🙂👩‍👩‍👧 and combining e\u0301 a\u0308, zero\u200bwidth, no\u00a0break, \u3000wide \u2028line",
    "code: for (int i=0; i<10; ++i) { x[i] += 0x1F; } // <html> && \"quotes\"",
    "An end<|endoftext|>and <|endoftext|> a beginning <|endof",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!!!!!!????....---***",
    "",
    "\n",
    " ",
]


def with_pre_tokenizer(folder, pre_tokenizer):
    """tokenizer.json of a folder with another pre-tokenizer, as a dictionary."""
    description = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    if pre_tokenizer is not None:
        description["pre_tokenizer"] = pre_tokenizer
    return description


def ids_of(description, texts):
    tokenizer = Tokenizer.from_str(json.dumps(description))
    return [tokenizer.encode(text).ids for text in texts]


def recorded():
    return {
        "pre_tokenizers": PRE_TOKENIZERS,
        "texts": TEXTS,
        "ids": {name: ids_of(with_pre_tokenizer(NOVELS, value), TEXTS) for name, value in PRE_TOKENIZERS.items()},
    }


def random_text(rng, characters):
    """A text in which every kind of character meets every other: ASCII mostly, spaces often, all of Unicode now and then."""
    pools = ["etaoinshrdlu", " ", "  \n\r\t", "0123456789", "'!?.,-\"()", "\u00a0\u2003\u3000\u0085", "éßñøÅ", "'s're'LL'D",
             "١२三Ⅳ½", None]
    weights = [40, 18, 5, 8, 8, 2, 4, 3, 3, 9]
    text = []
    for pool in rng.choices(pools, weights, k=characters):
        text.append(rng.choice(pool) if pool else chr(rng.choice(unicode_tables.CODE_POINTS)))
    return "".join(text).replace("\0", "")


def converted(octavo, folder, description, out):
    """A .8vo file of a model with this tokenizer.json."""
    source = out.with_suffix("")
    source.mkdir(exist_ok=True)
    for file in folder.iterdir():
        (source / file.name).unlink(missing_ok=True)
        if file.name != "tokenizer.json":
            (source / file.name).symlink_to(file.resolve())
    (source / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    subprocess.run([octavo, "convert", source, "-o", out, "--force", "--quiet"], check=True)
    return out


def compare(octavo, generate, folder, name, pre_tokenizer, work):
    description = with_pre_tokenizer(folder, pre_tokenizer)
    model = converted(octavo, folder, description, work / f"{folder.name}-tokens.8vo")
    rng = random.Random(f"{folder.name} {name}")
    text = random_text(rng, 30_000) + "".join(TEXTS) + (ROOT / "README.md").read_text(encoding="utf-8")
    (wanted,) = ids_of(description, [text])
    done = subprocess.run([generate, model, "--print-tokens"], input=text.encode(), stdout=subprocess.PIPE, check=True)
    found = [int(number) for number in done.stdout.split()]
    if found != wanted:
        first = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted)))
        before = Tokenizer.from_str(json.dumps(description)).decode(wanted[max(0, first - 8):first + 3])
        sys.exit(f"{folder.name}, {name}: token {first} is {found[first:first + 3]}, not {wanted[first:first + 3]}: {before!r}")
    print(f"{folder.name}, {name}: {len(wanted)} tokens of {len(text)} characters are the same")


def main():
    if sys.argv[1:] == ["--write"]:
        # One line for each list of ids.
        RECORDED.write_text(json.dumps(recorded()).replace("], [", "],\n[").replace("}, ", "},\n") + "\n")
        return
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    octavo, generate, work, *folders = sys.argv[1:]
    if json.loads(RECORDED.read_text()) != recorded():
        sys.exit(f"{RECORDED} differs from what this version of tokenizers says; see --write")
    table = ROOT / "docs/examples/generate/unicode_tables.inc"
    if table.read_text(encoding="utf-8") != unicode_tables.table():
        sys.exit(f"{table} differs from what this version of tokenizers knows; make it anew with unicode_tables.py")
    work = pathlib.Path(work)
    work.mkdir(parents=True, exist_ok=True)
    for folder in map(pathlib.Path, folders):
        compare(octavo, generate, folder, "its own", None, work)
    for name, pre_tokenizer in PRE_TOKENIZERS.items():
        compare(octavo, generate, NOVELS, name, pre_tokenizer, work)


if __name__ == "__main__":
    main()
