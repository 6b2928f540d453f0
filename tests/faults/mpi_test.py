#!/usr/bin/env python3
"""Three ranks under mpirun convert the parts of a model into one folder; one is killed, all are run again, and the parts are joined:
the bytes of one process. What docs/cluster.md says. Exit code 77: there is no mpirun here.
"""

import pathlib
import shutil
import subprocess
import sys

from shim import OCTAVO, OUT, SHIM, digests, environment, run, scratch_folder, write_large_model

RANKS = 3
OPTIONS = ["--max-shard-size", "9MB", "--save-every", "1MB", "--quiet"]
# What each rank runs; the rank that KILLED_RANK names dies at its 12th write.
RANK = f"""#!/bin/sh
if [ "$OMPI_COMM_WORLD_RANK" = "$KILLED_RANK" ]; then
  export LD_PRELOAD="{SHIM}" OCTAVO_SHIM_FAULT="write 12 kill"
fi
exec "{OCTAVO}" convert model -o {OUT} {" ".join(OPTIONS)} \\
  --part $((OMPI_COMM_WORLD_RANK + 1))/$OMPI_COMM_WORLD_SIZE --resume
"""


def mpirun(folder, killed_rank):
    env = environment(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", KILLED_RANK=killed_rank,
                      OCTAVO_SHIM_FOLDER=str(folder))
    return subprocess.run(["mpirun", "--oversubscribe", "-n", str(RANKS), "./rank.sh"], cwd=folder, env=env, timeout=300,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def main():
    if shutil.which("mpirun") is None:
        print("SKIPPED: there is no mpirun on PATH (Debian's package is openmpi-bin)")
        return 77
    with scratch_folder(megabytes=300) as name:
        folder = pathlib.Path(name)
        write_large_model(folder / "model", 9)
        result = run(folder, ["convert", "model", "-o", OUT, *OPTIONS])
        assert result.returncode == 0, result
        expected = digests(folder)
        for file in expected:
            (folder / file).unlink()
        rank = folder / "rank.sh"
        rank.write_text(RANK)
        rank.chmod(0o755)

        first = mpirun(folder, killed_rank="1")
        assert first.returncode != 0, first
        assert not (folder / f"{OUT}.part-2-of-3").exists(), first.stderr
        result = run(folder, ["join", OUT])
        assert result.returncode == 1 and "these are missing" in result.stderr, result
        print("one of three ranks was killed; left:", *sorted(digests(folder)))

        second = mpirun(folder, killed_rank="none")
        assert second.returncode == 0, second
        result = run(folder, ["join", OUT, "--quiet"])
        assert result.returncode == 0, result
        rank.unlink()
        assert digests(folder) == expected, sorted(digests(folder))
    print(f"{RANKS} ranks, one killed and run again: {len(expected)} files with the bytes of one process")
    return 0


if __name__ == "__main__":
    sys.exit(main())
