"""What the tests of the Python package share: converted models, the definition in float64.

$OCTAVO is the binary; the package is what `import octavo` finds (with $OCTAVO_LIBRARY, a build's library).
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GPT2 = ROOT / "tests/data/models/gpt2-novels-outliers"
LLAMA = ROOT / "tests/data/models/llama-novels"
OCTAVO = os.environ.get("OCTAVO", str(ROOT / "build/tools/octavo"))
sys.path[:0] = [str(ROOT / "tests/peers"), str(ROOT / "tests/reader")]


def convert(source, out, *options):
    subprocess.run([OCTAVO, "convert", str(source), "-o", str(out), "--force", "--quiet", *map(str, options)], check=True)
    return out


class PackageTest(unittest.TestCase):
    """Each class has one folder, `cls.dir`, for all of its tests, and models converted into it once."""

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="octavo-python-"))
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)
        cls._converted = {}

    @classmethod
    def converted(cls, source=GPT2, *options):
        key = (source, *options)
        if key not in cls._converted:
            cls._converted[key] = convert(source, cls.dir / f"{source.name}-{len(cls._converted)}.8vo", *options)
        return cls._converted[key]
