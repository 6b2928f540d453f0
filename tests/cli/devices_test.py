"""octavo devices: the backends, and the choice that OCTAVO_CPU makes."""

import unittest

from cli import CliTest, environment


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


if __name__ == "__main__":
    unittest.main()
