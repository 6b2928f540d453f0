"""Ctrl-C, SIGTERM and SIGHUP in the middle of a conversion: a message, exit code 1, no trace where nothing was saved to go on from
(tests/faults/resume_test.py has the others)."""

import signal
import subprocess
import unittest

from cli import OCTAVO, CliTest, environment, write_safetensors

LAYERS = 64
EXTENT = 2048  # 64 x 2048 x 2048 fp16: 512 MiB, as a hole in the file


class Interrupt(CliTest):
    def setUp(self):
        super().setUp()
        (self.dir / "m").mkdir()
        write_safetensors(self.dir / "m/model.safetensors", {
            f"layers.{i}.proj.weight": ("F16", (EXTENT, EXTENT), None) for i in range(LAYERS)})

    def interrupted(self, sent, output, *options, nohup=False):
        """Sends the signal once the first line of progress has come."""
        ignore = (lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if nohup else None
        process = subprocess.Popen(
            [OCTAVO, "convert", "m", "-o", output, "--progress", "--threads", "1", "--save-every", "1TB", *options],
            cwd=self.dir, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ignore)
        first = process.stderr.readline()
        process.send_signal(sent)
        out, err = process.communicate(timeout=200)
        return process.returncode, out, (first + err).decode()

    def test_leaves_nothing(self):
        for sent in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]:
            with self.subTest(signal=sent):
                code, out, err = self.interrupted(sent, "model.8vo")
                self.assertEqual((code, out), (1, b""), err)
                self.assertIn("octavo: ", err)
                self.assertIn("cancelled", err)
                self.assertEqual(self.files(), ["m", "m/model.safetensors"])

    def test_leaves_the_old_output(self):
        (self.dir / "model.8vo").write_text("old")
        code, _, err = self.interrupted(signal.SIGINT, "model.8vo", "--force")
        self.assertEqual(code, 1, err)
        self.assertEqual((self.dir / "model.8vo").read_text(), "old")
        self.assertEqual(self.files(), ["m", "m/model.safetensors", "model.8vo"])

    def test_leaves_no_shards(self):
        code, _, err = self.interrupted(signal.SIGINT, "model.8vo", "--max-shard-size", "8MB")
        self.assertEqual(code, 1, err)
        self.assertEqual(self.files(), ["m", "m/model.safetensors"])

    def test_a_bus_error_is_explained(self):
        code, out, err = self.interrupted(signal.SIGBUS, "model.8vo")
        self.assertEqual((code, out), (1, b""), err)
        self.assertIn("octavo: a file shrank while it was read", err)
        self.octavo("convert", "m", "-o", "model.8vo", "-q")
        self.assertEqual(self.files(), ["m", "m/model.safetensors", "model.8vo"])

    def test_nohup_is_respected(self):
        code, _, err = self.interrupted(signal.SIGHUP, "model.8vo", nohup=True)
        self.assertEqual(code, 0, err)
        self.octavo("inspect", "model.8vo")


if __name__ == "__main__":
    unittest.main()
