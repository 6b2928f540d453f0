#!/usr/bin/env python3
"""The letters, numbers and white space of Unicode as the library "tokenizers" has them, for docs/examples/generate.

    unicode_tables.py > docs/examples/generate/unicode_tables.inc

generate_tokens.py checks that the table is still what tokenizers has.
"""

import sys

from tokenizers import Regex, pre_tokenizers

CLASSES = {"kLetters": r"\p{L}", "kNumbers": r"\p{N}", "kSpaces": r"\s"}
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def members(pattern):
    """The code points that the pattern matches, each tried between two characters that it does not match."""
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    for begin in range(0, len(CODE_POINTS), 4096):
        some = CODE_POINTS[begin:begin + 4096]
        for piece, (first, _) in split.pre_tokenize_str("".join(f"{chr(c)}+" for c in some)):
            if len(piece) == 1 and piece == chr(some[first // 2]) and piece != "+":
                yield ord(piece)


def ranges(points):
    runs = []
    for point in points:
        if runs and runs[-1][1] == point - 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return runs


def table():
    lines = ["// Ranges of code points, first and last, ascending. Made by tests/peers/unicode_tables.py; do not edit."]
    for name, pattern in CLASSES.items():
        lines.append(f"constexpr Range {name}[] = {{")
        row = ""
        for first, last in ranges(members(pattern)):
            entry = f"{{0x{first:x}, 0x{last:x}}},"
            if len(row) + len(entry) > 96:
                lines.append("   " + row)
                row = ""
            row += " " + entry
        lines += ["   " + row, "};"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
