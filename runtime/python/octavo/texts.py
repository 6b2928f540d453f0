"""Text to measure on: a file, or the King James Bible of Debian's packages bible-kjv and bible-kjv-text (public domain)."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import tempfile

from .errors import UnsupportedError

BIBLE = "bible-kjv"


def read_text(source: str | os.PathLike[str]) -> str:
    """The content of a file, or of what the word "bible-kjv" stands for, which is fetched by apt-get (a few MB, nothing is installed)."""
    if os.fspath(source) == BIBLE and not pathlib.Path(BIBLE).exists():
        return fetch_bible()
    return pathlib.Path(source).read_text(encoding="utf-8", errors="replace")


def fetch_bible() -> str:
    """A paragraph for each chapter. Raises UnsupportedError where there is no apt-get or no network."""
    with tempfile.TemporaryDirectory(prefix="octavo-text-") as folder:
        try:
            subprocess.run(["apt-get", "download", "-q", BIBLE, f"{BIBLE}-text"], cwd=folder, check=True, capture_output=True)
            for package in pathlib.Path(folder).glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, folder], check=True, capture_output=True)
            program, data = pathlib.Path(folder, "usr/games/bible"), pathlib.Path(folder, "usr/lib")
            if not program.exists():
                program = pathlib.Path(folder, "usr/bin/bible")
            done = subprocess.run([program, "-p", data, "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            detail = getattr(error, "stderr", b"") or b""
            raise UnsupportedError(f"cannot fetch Debian's {BIBLE} and {BIBLE}-text ({error} "
                                   f"{detail.decode(errors='replace')[-200:] if isinstance(detail, bytes) else detail[-200:]}); "
                                   "give a text file instead") from error
    return paragraphs(done.stdout)


def paragraphs(verses: str) -> str:
    """Lines like "Gen1:1 In the beginning …", one verse each, as a paragraph for each chapter."""
    chapters: dict[str, list[str]] = {}
    for line in verses.splitlines():
        if match := re.match(r"(\S+?\d+):\d+\s+(.*)", line):
            chapters.setdefault(match[1], []).append(match[2].strip())
    return "\n\n".join(" ".join(chapter) for chapter in chapters.values())
