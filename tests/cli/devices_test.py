"""octavo devices: the backends, and the choice that OCTAVO_CPU makes."""

import os
import shutil
import subprocess
import unittest

from cli import FAKE_CUDA, OCTAVO, CliTest, environment, with_fake_gpus


class Devices(CliTest):
    def test_lists_backends_with_reasons(self):
        report = self.octavo_json("devices")
        backends = {b["name"]: b for b in report["backends"]}
        self.assertTrue(backends["portable"]["usable"])
        self.assertEqual(backends["portable"]["type"], "cpu")
        self.assertEqual(len([b for b in backends.values() if b["selected"]]), 1)
        for backend in backends.values():
            self.assertTrue(backend["reason"])
            self.assertTrue(backend["usable"] or not backend["selected"])
        self.assertGreaterEqual(report["cpu"]["available_cores"], 1)

    def test_text_has_the_same(self):
        out = self.octavo("devices").out
        report = self.octavo_json("devices")
        self.assertIn(report["cpu"]["model"], out)
        for backend in report["backends"]:
            self.assertRegex(out, rf"(?m)^  {backend['name']} ")

    def test_environment_chooses(self):
        report = self.octavo_json("devices", env=environment(OCTAVO_CPU="portable"))
        self.assertEqual([b["name"] for b in report["backends"] if b["selected"]], ["portable"])

    def test_says_why_there_is_no_gpu(self):
        report = self.octavo_json("devices", env=environment(OCTAVO_CUDA_LIBRARY="off"))
        cuda = [b for b in report["backends"] if b["type"] == "cuda"]
        self.assertEqual([(b["name"], b["usable"], b["gpu"]) for b in cuda], [("cuda", False, None)])
        self.assertIn("CUDA", cuda[0]["reason"])


@unittest.skipUnless(FAKE_CUDA, "a build without the CUDA backend")
class Gpus(CliTest):
    def gpus(self, env):
        return [b for b in self.octavo_json("devices", env=env)["backends"] if b["type"] == "cuda"]

    def reason(self, **changes):
        return self.gpus(environment(**changes))[0]["reason"]

    def test_facts(self):
        first, second = self.gpus(with_fake_gpus())
        self.assertEqual((first["name"], second["name"]), ("cuda:0", "cuda:1"))
        self.assertEqual((first["usable"], first["selected"]), (True, False))
        self.assertEqual(first["reason"], "Fake GPU 0, compute capability 8.6, sm_80")
        self.assertEqual(first["gpu"], {"name": "Fake GPU 0", "pci_bus_id": "0000:00:00.0", "compute_capability": "8.6",
                                        "memory_bytes": 8 << 30, "multiprocessors": 10, "l2_bytes": 4 << 20,
                                        "driver_cuda": "13.0"})

    def test_text_has_the_same(self):
        out = self.octavo("devices", env=with_fake_gpus("old-device")).out
        self.assertRegex(out, r"(?m)^  cuda:0 +usable +Fake GPU 0, compute capability 8\.6, sm_80$")
        self.assertRegex(out, r"(?m)^  cuda:1 +- +Fake GPU 1, compute capability 7\.0; the kernels need 7\.5 or more$")
        self.assertRegex(out, r"(?m)^  cuda:0 +Fake GPU 0 +8\.6 +8\.59 GB +10 +4\.19 MB +CUDA 13\.0$")

    def test_reasons(self):
        for pretend, reason in [("no-driver", "no NVIDIA driver is installed"), ("old-driver", "driver is too old"),
                                ("no-device", "CUDA_VISIBLE_DEVICES")]:
            entry, = self.gpus(with_fake_gpus(pretend))
            self.assertFalse(entry["usable"])
            self.assertIn(reason, entry["reason"])
        self.assertIn("OCTAVO_CUDA_LIBRARY=off", self.reason(OCTAVO_CUDA_LIBRARY="off"))
        self.assertIn("/none.so", self.reason(OCTAVO_CUDA_LIBRARY="/none.so"))

    def test_library_beside_the_binary(self):
        (self.dir / "bin").mkdir()
        binary = shutil.copy(OCTAVO, self.dir / "bin" / "octavo")

        def devices():
            # Started as a shell does it, by a name that is no path.
            path = f"{self.dir}/bin{os.pathsep}{os.environ['PATH']}"
            run = subprocess.run(["octavo", "devices"], env=environment(PATH=path), check=True, capture_output=True,
                                 cwd="/", text=True, timeout=60)
            return run.stdout

        self.assertTrue(os.access(binary, os.X_OK))
        self.assertNotIn("Fake GPU", devices())
        shutil.copy(FAKE_CUDA, self.dir / "bin" / "liboctavo_cuda.so")
        self.assertIn("Fake GPU 0", devices())


if __name__ == "__main__":
    unittest.main()
