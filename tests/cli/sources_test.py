"""octavo convert: what else than 16-bit safetensors a model may come in."""

import builtins
import collections
import json
import os
import pathlib
import pickle
import struct
import subprocess
import unittest
import zipfile

from cli import CliTest, halves, read_safetensors, write_safetensors

NAME = "model.layers.0.self_attn.q_proj"


def save(path, data, storages=(b"",)):
    """torch.save's archive around the pickle `data`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for i, storage in enumerate(storages):
            archive.writestr(f"archive/data/{i}", storage)
        archive.writestr("archive/version", "3\n")


class Global:
    """Stands for a global of torch in a pickle, which does not need torch to be made."""

    def __init__(self, module, name, *arguments):
        self.module, self.name, self.arguments = module, name, arguments


class TorchPickler(pickle._Pickler):  # the one in Python, whose methods can be replaced
    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Storage):
            super().save(("storage", Global("torch", obj.type), obj.key, "cpu", obj.elements))
            self.write(pickle.BINPERSID)
        elif isinstance(obj, Global):
            self.write(b"c" + obj.module.encode() + b"\n" + obj.name.encode() + b"\n")
            if obj.arguments:
                super().save(obj.arguments)
                self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


class Storage(collections.namedtuple("Storage", "type key elements")):
    pass


def dumps(obj):
    import io
    out = io.BytesIO()
    TorchPickler(out, protocol=2).dump(obj)
    return out.getvalue()


def tensor(storage, offset, size, stride):
    return Global("torch._utils", "_rebuild_tensor_v2", storage, offset, size, stride, False, None)


class TorchFiles(CliTest):
    VALUES = [((i * 37) % 101 - 50) / 100 for i in range(64 * 32)]

    def write_folder(self, name, transposed=False):
        """The model of write_small_model, by torch.save: its weight as it is, or as a view of its transpose."""
        folder = self.dir / name
        folder.mkdir()
        values = [self.VALUES[i % 64 * 32 + i // 64] for i in range(64 * 32)] if transposed else self.VALUES
        weight = tensor(Storage("HalfStorage", "0", 2048), 0, (64, 32), (1, 64) if transposed else (32, 1))
        norm = tensor(Storage("HalfStorage", "1", 32), 0, (32,), (1,))
        save(folder / "pytorch_model.bin", dumps({f"{NAME}.weight": weight, "model.norm.weight": norm}), [halves(values), halves([1.0] * 32)])
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
        return folder

    def test_gives_what_safetensors_give(self):
        (self.dir / "plain").mkdir()
        write_safetensors(self.dir / "plain/model.safetensors", {
            f"{NAME}.weight": ("F16", (64, 32), halves(self.VALUES)), "model.norm.weight": ("F16", (32,), halves([1.0] * 32))})
        (self.dir / "plain/config.json").write_text(json.dumps({"model_type": "llama"}))
        expected = self.tensors(self.converted("plain", "plain.8vo"))
        for name, transposed in (("pickled", False), ("turned", True)):
            self.write_folder(name, transposed)
            self.assertEqual(self.tensors(self.converted(name, f"{name}.8vo")), expected)
            self.octavo("verify", f"{name}.8vo", "--against", name)
            self.assertEqual(self.octavo_json("inspect", f"{name}.8vo")["source"]["format"], "pytorch")

    def tensors(self, path):
        self.octavo("export", path, "--to", "transformers", "-o", f"{path}.d", "--quiet")
        return read_safetensors(f"{path}.d/model.safetensors")

    def test_hostile_pickles_run_nothing(self):
        marker = self.dir / "pwned"
        command = f"touch {marker}"

        def exploit(function, *arguments):
            class Exploit:
                def __reduce__(self):
                    return function, arguments
            return Exploit()

        cases = {
            ".system\"": exploit(os.system, command),
            ".Popen\"": exploit(subprocess.Popen, command),
            ".eval\"": exploit(builtins.eval, f"open({str(marker)!r}, 'w')"),
            ".exec\"": exploit(builtins.exec, command),
            ".Path\"": exploit(pathlib.Path, str(marker)),
            ".loads\"": exploit(pickle.loads, pickle.dumps(exploit(os.system, command).__reduce__()[1])),
        }
        folder = self.dir / "model"
        folder.mkdir()
        for name, payload in cases.items():
            for data in (pickle.dumps(payload, protocol=2), dumps({"w": tensor(Storage("HalfStorage", "0", 1), 0, (1,), (1,)), "x": payload})):
                save(folder / "pytorch_model.bin", data, [b"\0\0"])
                self.fails(3, "convert", "model", "-o", "out.8vo", says=["pytorch_model.bin", name, "nothing was executed"])
        for opcode, data in {"INST": b"\x80\x02(Vtouch " + str(marker).encode() + b"\niposix\nsystem\n.",
                             "STACK_GLOBAL": b"\x80\x02\x93.", "NEWOBJ": b"\x80\x02)\x81.", "EXT1": b"\x80\x02\x82\x01."}.items():
            save(folder / "pytorch_model.bin", data)
            self.fails(3, "convert", "model", "-o", "out.8vo", says="UNICODE" if opcode == "INST" else opcode)
        self.assertFalse(marker.exists())
        self.assertFalse((self.dir / "out.8vo").exists())

    def test_old_files_and_advice(self):
        folder = self.write_folder("model")
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")
        self.fails(3, "convert", "model", "-o", "out.8vo", says=["torch before 1.6", "torch.load"])


class Int8Sources(CliTest):
    def test_bitsandbytes_is_taken_over(self):
        folder = self.dir / "model"
        folder.mkdir()
        codes = bytes((i * 7 + 1) % 251 % 128 for i in range(64 * 32))
        scales = struct.pack("<64f", *(0.5 + i for i in range(64)))
        tensors = {f"{NAME}.SCB": ("F32", (64,), scales), f"{NAME}.weight": ("I8", (64, 32), codes)}
        write_safetensors(folder / "model.safetensors", tensors)
        (folder / "config.json").write_text(json.dumps({
            "model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": 4.0}}))
        report = self.octavo_json("convert", "model", "-o", "model.8vo")
        self.assertEqual(report["quantization"]["threshold"], 4)
        module = next(m for m in report["modules"] if m["name"] == NAME)
        self.assertEqual((module["source_dtype"], module["snr_db"]), ("I8", None))
        self.octavo("verify", "model.8vo", "--against", "model")
        self.octavo("export", "model.8vo", "--to", "bitsandbytes", "-o", "out", "--quiet")
        found = read_safetensors(self.dir / "out/model.safetensors")
        self.assertEqual(found.pop(f"{NAME}.weight_format")[2], b"\0")
        self.assertEqual({n: (d, tuple(s), b) for n, (d, s, b) in found.items()}, tensors)
        self.fails(2, "convert", "model", "-o", "other.8vo", "--skip-modules", "q_proj", says="int8 in the source")


if __name__ == "__main__":
    unittest.main()
