#!/usr/bin/env python3
"""kill -9 at random moments of a conversion: the old output or none, never a broken one, and the next conversion works.

    kill_test.py [--count 200] [--seed N]      20 by default; the seed is printed

Single files and shards in turn, each with and without an old output in its place; the next conversion resumes, or starts afresh.
"""

import argparse
import collections
import pathlib
import random
import subprocess
import sys
import time

from shim import OCTAVO, OUT, digests, environment, fresh, scratch_folder, visible, write_large_model

LAYERS = 6
CONVERT = ["convert", "model", "-o", OUT, "--quiet", "--force", "--save-every", "1MiB"]
LAYOUTS = {"single": [], "sharded": ["--max-shard-size", "9MB"]}


def convert(folder, *options):
    return subprocess.run([OCTAVO, *CONVERT, *options], cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def convert_and_kill(folder, seconds, *options):
    """Whether the process still ran."""
    process = subprocess.Popen([OCTAVO, *CONVERT, *options], cwd=folder, env=environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    return process.returncode == -9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    arguments = parser.parse_args()
    print(f"{arguments.count} kills, seed {arguments.seed}")
    choice = random.Random(arguments.seed)
    found = collections.Counter()
    with scratch_folder(megabytes=600) as name:
        root = pathlib.Path(name)
        new, old, seconds = {}, {}, {}
        for layout, options in LAYOUTS.items():
            template = root / layout
            write_large_model(template / "model", LAYERS)
            begin = time.monotonic()
            assert convert(fresh(template, root / "run"), *options).returncode == 0
            seconds[layout] = time.monotonic() - begin
            new[layout] = digests(root / "run")
            assert convert(template, *options, "--skip-modules", "layers.1,layers.4").returncode == 0
            old[layout] = digests(template)
        for i in range(arguments.count):
            layout = list(LAYOUTS)[i % 2]
            has_old, resumes = i % 4 < 2, choice.random() < 0.5
            folder = fresh(root / layout, root / "run")
            before = old[layout] if has_old else {}
            for path in folder.iterdir():
                if path.is_file() and not has_old:
                    path.unlink()
            moment = choice.random() * seconds[layout] * 1.05
            was_killed = convert_and_kill(folder, moment, *LAYOUTS[layout])
            left = digests(folder)
            found["killed" if was_killed else "was done before"] += 1
            found["left an unfinished output"] += ".x.8vo.octavo-journal" in left
            seen = visible(left)
            said = f"{layout}, killed after {moment:.3f} s, had an old output: {has_old}: left {sorted(left)}"
            whole = before if seen.get(OUT) == before.get(OUT) else new[layout]
            assert all(seen.get(file) == digest for file, digest in whole.items()), f"a broken output: {said}"
            result = convert(folder, *LAYOUTS[layout], *(["--resume"] if resumes else []))
            assert result.returncode == 0, f"the next conversion: {result.stderr}: {said}"
            assert digests(folder) == new[layout], f"the next conversion left {sorted(digests(folder))}: {said}"
    print(", ".join(f"{count} {what}" for what, count in sorted(found.items())))
    print("the old output or none each time, and every next conversion worked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
