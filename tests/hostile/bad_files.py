"""Bad inputs about files: what lies in the folder, links, names, pickles, archives, code, indexes."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import pickletools
import socket
import tarfile
import zipfile
from typing import Any

from arena import Arena, bad
from intake_fixtures import edit_json, load_tensors, pack, set_keys

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


class MakesMarker:
    """Unpickled, it makes an empty folder; nothing else."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def payload(a: Arena, protocol: int = 2) -> bytes:
    return pickle.dumps(MakesMarker(str(a.marker)), protocol=protocol)


def code(a: Arena) -> str:
    return f"import os\nos.mkdir({str(a.marker)!r})\n"


def torch_zip(a: Arena, member: bytes = b"", compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as z:
        z.writestr("archive/data.pkl", payload(a))
        z.writestr("archive/data/0", member)
    return out.getvalue()


@bad("1", "pickle-weights")
def only_a_pickle(a: Arena) -> None:
    a.file(UNET).unlink()
    a.write("unet/diffusion_pytorch_model.bin", payload(a))


@bad("2", "unused-pickle", 1)
def pickle_beside(a: Arena) -> None:
    a.write("unet/diffusion_pytorch_model.bin", payload(a))


def gif_pickle(a: Arena) -> bytes:
    """A pickle whose first opcode is a float, so that it begins as a picture does."""
    return b"GIF89a\0\0\0" + b"0" + payload(a)[2:]


@bad("2", "unused-pickle", 1)
def pickle_that_begins_as_a_picture(a: Arena) -> None:
    assert [op.name for op, _, _ in pickletools.genops(gif_pickle(a))][-1] == "STOP"
    a.write("unet/diffusion_pytorch_model.bin", gif_pickle(a))


@bad("1", "pickle-weights")
def only_a_pickle_that_begins_as_a_picture(a: Arena) -> None:
    a.file(UNET).unlink()
    a.write("unet/diffusion_pytorch_model.bin", gif_pickle(a))


@bad("4", "pickle-weights")
def single_ckpt_that_begins_as_a_picture(a: Arena) -> None:
    a.source = a.write("model.ckpt", gif_pickle(a))


for _name, _start in {
    "json": b"{}",
    "program": b"MZ\0\0",
    "script": b"#!/bin/sh\n",
    "text": b"I1\n.",
}.items():

    @bad("2", "unused-pickle", 1, name=f"pickle_name_on_{_name}")
    def pickle_name(a: Arena, start: bytes = _start) -> None:
        a.write("unet/diffusion_pytorch_model.bin", start)


def array(descr: str, padding: int = 0) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), {' ' * padding}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


for _name, _data in {
    "": array("'|O'"), "_inside": array("[('a', '<f4'), ('b', 'O')]"), "_escaped": array(r"'|\x4f'"),
    "_by_name": array("'object'"),
    "_late": array("'<f4'", 600),
}.items():  # fmt: skip

    @bad("own", "unused-pickle", 1, name=f"array_of_objects{_name}")
    def array_of_objects(a: Arena, data: bytes = _data) -> None:
        a.write("unet/data.npy", data + payload(a))


@bad("own", "other-format", 0)
def array_of_numbers(a: Arena) -> None:
    a.write("unet/data.npy", array("'<f4'") + bytes(4))


@bad("own", "unused-archive", 1)
def archive_behind_one_byte(a: Arena) -> None:
    a.write("unet/data", b"\0" + torch_zip(a))


@bad("own", "unused-archive", 1)
def archive_behind_a_picture_and_before_a_byte(a: Arena) -> None:
    a.write("picture.gif", b"GIF89a" + torch_zip(a) + b"\0")


@bad("3", "not-safetensors")
def pickle_renamed(a: Arena) -> None:
    a.write(UNET, payload(a))


@bad("3", "not-safetensors")
def old_pickle_renamed(a: Arena) -> None:
    a.write(UNET, payload(a, protocol=0) + b" " * 100)


@bad("4", "pickle-weights")
def single_ckpt(a: Arena) -> None:
    a.source = a.write("model.ckpt", payload(a))


@bad("5", "pickle-weights")
def compressed_ckpt(a: Arena) -> None:
    a.source = a.write("model.ckpt", torch_zip(a, bytes(32 << 20), zipfile.ZIP_DEFLATED))


@bad("6", "pickle-weights")
def lora_bin(a: Arena) -> None:
    a.source = a.write("pytorch_lora_weights.bin", payload(a))


@bad("6", "pickle-weights")
def embedding_bin_alone(a: Arena) -> None:
    a.source = a.arena / "embedding"
    a.source.mkdir()
    (a.source / "learned_embeds.bin").write_bytes(payload(a))


@bad("7", "archive-weights")
def seven_zip(a: Arena) -> None:
    a.file(UNET).unlink()
    a.write("unet/diffusion_pytorch_model.7z", b"7z\xbc\xaf\x27\x1c\x00\x04" + payload(a))


@bad("7", "archive-weights")
def seven_zip_named_bin(a: Arena) -> None:
    a.file(UNET).unlink()
    a.write("unet/diffusion_pytorch_model.bin", b"7z\xbc\xaf\x27\x1c\x00\x04" + payload(a))


@bad("7", "pickle-weights")
def tar_weights(a: Arena) -> None:
    a.file(UNET).unlink()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        info = tarfile.TarInfo("data.pkl")
        info.size = len(payload(a))
        t.addfile(info, io.BytesIO(payload(a)))
    a.write("unet/diffusion_pytorch_model.bin", out.getvalue())


@bad("7", "not-safetensors")
def double_zip(a: Arena) -> None:
    a.write(UNET, torch_zip(a, torch_zip(a)))


@bad("7", "not-safetensors")
def gzipped_safetensors(a: Arena) -> None:
    a.write(UNET, gzip.compress(a.file(UNET).read_bytes()))


@bad("own", "unused-archive", 1)
def archive_beside(a: Arena) -> None:
    a.write("unet/extra.7z", b"7z\xbc\xaf\x27\x1c\x00\x04")


@bad("8", "lfs-pointer")
def lfs_pointer(a: Arena) -> None:
    a.write(UNET, b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n")


@bad("own", "lfs-pointer")
def lfs_pointer_config(a: Arena) -> None:
    a.write(
        "unet/config.json",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n",
    )


@bad("9", "special-file")
def weights_are_a_folder(a: Arena) -> None:
    a.file(UNET).unlink()
    a.file(UNET).mkdir()


@bad("9", "special-file")
def weights_are_a_fifo(a: Arena) -> None:
    a.file(UNET).unlink()
    os.mkfifo(a.file(UNET))


@bad("9", "special-file")
def config_is_a_fifo(a: Arena) -> None:
    a.file("unet/config.json").unlink()
    os.mkfifo(a.file("unet/config.json"))


@bad("own", "special-file")
def index_is_a_folder(a: Arena) -> None:
    a.file("model_index.json").unlink()
    a.file("model_index.json").mkdir()


@bad("own", "special-file")
def stray_fifo(a: Arena) -> None:
    os.mkfifo(a.file("README.md"))


@bad("own", "special-file")
def stray_socket(a: Arena) -> None:
    here = os.getcwd()
    os.chdir(a.file("unet"))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("s")
    os.chdir(here)


@bad("own", "special-file")
def source_is_a_fifo(a: Arena) -> None:
    a.source = a.arena / "fifo.safetensors"
    os.mkfifo(a.source)


@bad("own", "special-file")
def source_is_a_device(a: Arena) -> None:
    a.source = "/dev/zero"


@bad("10", "link-outside")
def weights_linked_outside(a: Arena) -> None:
    other = a.outside / "model.safetensors"
    a.file(TEXT).rename(other)
    a.file(TEXT).symlink_to(other)


@bad("11", "link-outside")
def config_linked_to_a_secret(a: Arena) -> None:
    a.file("unet/config.json").unlink()
    a.file("unet/config.json").symlink_to(a.secret)


@bad("11", "link-outside")
def config_linked_relatively(a: Arena) -> None:
    a.file("unet/config.json").unlink()
    a.file("unet/config.json").symlink_to("../../outside/secret.txt")


@bad("own", "link-outside")
def folder_linked_outside(a: Arena) -> None:
    a.file("unet").rename(a.outside / "unet")
    a.file("unet").symlink_to(a.outside / "unet")


@bad("own", "link-outside")
def weights_linked_to_zeros(a: Arena) -> None:
    a.file(UNET).unlink()
    a.file(UNET).symlink_to("/dev/zero")


@bad("own", "link-outside")
def index_linked_to_process(a: Arena) -> None:
    a.file("model_index.json").unlink()
    a.file("model_index.json").symlink_to("/proc/self/environ")


@bad("own", "link-outside")
def hub_snapshot_leaves_its_repository(a: Arena) -> None:
    repository = a.arena / "models--someone--model"
    (repository / "blobs").mkdir(parents=True)
    a.model = a.model.rename(repository / "snap")
    (repository / "snapshots").mkdir()
    a.source = a.model = a.model.rename(repository / "snapshots" / "abc")
    a.file(UNET).rename(a.outside / "blob")
    a.file(UNET).symlink_to("../../../../outside/blob")


@bad("own", "missing-weights")
def weights_linked_inside(a: Arena) -> None:
    a.file(UNET).rename(a.file("unet/other.safetensors"))
    a.file(UNET).symlink_to("other.safetensors")


@bad("12", "inventory-limit")
def link_to_itself(a: Arena) -> None:
    a.file("loop").symlink_to("loop")


@bad("12", "inventory-limit")
def link_to_its_parent(a: Arena) -> None:
    a.file("unet/up").symlink_to("..")


@bad("12", "inventory-limit")
def two_links_in_a_circle(a: Arena) -> None:
    a.file("a").symlink_to("b")
    a.file("b").symlink_to("a")


@bad("12", "inventory-limit")
def very_many_files(a: Arena) -> None:
    first = a.write("unet/many", b"x")
    for i in range(6_000):
        os.link(first, a.file(f"unet/many{i}"))


@bad("12", "inventory-limit")
def name_is_not_utf8(a: Arena) -> None:
    with open(os.fsencode(a.model) + b"/\xff\xfe.json", "wb") as f:
        f.write(b"{}")


@bad("12", "inventory-limit")
def deep_folders(a: Arena) -> None:
    a.file("/".join("d" * 40)).mkdir(parents=True)


@bad("12", "inventory-limit")
def two_tebibytes(a: Arena) -> None:
    a.sparse("unet/big.onnx", 2 << 40)
    a.write("vae/zz", b"x")
    a.write("unet/zz", b"x")
    a.write("zz", b"x")


@bad("12", "inventory-limit")
def two_tebibytes_in_the_only_file(a: Arena) -> None:
    a.source = a.arena / "large"
    a.source.mkdir()
    a.file("../large/big.onnx").touch()
    os.truncate(a.source / "big.onnx", 2 << 40)


@bad("12", "link-inside", 1)
def long_chain_of_links(a: Arena) -> None:
    a.file("unet/l").mkdir()
    for i in range(4_000):
        a.file(f"unet/l/{i}").symlink_to(f"{i + 1}")


@bad("12", "inventory-limit")
def long_chain_into_a_circle(a: Arena) -> None:
    for i in range(2_000):
        a.file(f"unet/l{i}").symlink_to(f"l{min(i + 1, 1999)}")


@bad("13", "ambiguous-name", 1)
def names_that_grow_when_normalised(a: Arena) -> None:
    deep = a.file("/".join(["\ufdfa" * 60] * 6))
    deep.mkdir(parents=True)
    for i in range(4_000):
        (deep / f"\ufdfa{i}").touch()
    (deep / "A").touch()
    (deep / "a").touch()


@bad("13", "ambiguous-name", 1)
def folders_differ_in_case(a: Arena) -> None:
    a.file("UNET").mkdir()
    a.write("UNET/config.json", b"{}")


@bad("13", "ambiguous-name", 1)
def names_differ_in_case(a: Arena) -> None:
    a.write("unet/Config.json", b"{}")


@bad("13", "ambiguous-name", 1)
def names_differ_in_unicode_form(a: Arena) -> None:
    a.write("caf\u00e9.txt", b"x")
    a.write("cafe\u0301.txt", b"x")


@bad("66", "odd-name", 1)
def name_turns_the_text_around(a: Arena) -> None:
    a.write("unet/\u202egnp.exe.txt", b"x")


@bad("66", "odd-name", 1)
def name_steers_the_terminal(a: Arena) -> None:
    a.write("unet/\x1b]0;owned\x07\x1b[2J.txt", b"x")


@bad("66", "odd-name", 1)
def name_is_markup(a: Arena) -> None:
    a.write("<img src=x onerror=alert(1)>.txt", b"x")


@bad("66", "odd-name", 1)
def name_is_a_formula(a: Arena) -> None:
    a.write("=cmd|' C calc'!A0.txt", b"x")


@bad("14", "unknown-library")
def local_module(a: Arena) -> None:
    a.write("evil.py", code(a).encode())
    set_keys(a.file("model_index.json"), unet=["evil", "Thing"])


@bad("15", "unknown-library")
def standard_module(a: Arena) -> None:
    set_keys(a.file("model_index.json"), unet=["os", "mkdir"])


@bad("15", "unknown-library")
def popen(a: Arena) -> None:
    set_keys(a.file("model_index.json"), scheduler=["subprocess", "Popen"])


@bad("own", "unknown-library")
def submodule_of_diffusers(a: Arena) -> None:
    set_keys(
        a.file("model_index.json"),
        scheduler=["diffusers.utils.dynamic_modules_utils", "get_class_from_dynamic_module"],
    )


@bad("16", "custom-code")
def custom_component(a: Arena) -> None:
    a.write("unet/my_unet.py", code(a).encode())
    set_keys(a.file("model_index.json"), unet=["my_unet", "MyUNet"])


@bad("17", "custom-code")
def custom_pipeline(a: Arena) -> None:
    a.write("pipeline.py", code(a).encode())
    set_keys(a.file("model_index.json"), _class_name=["pipeline", "MyPipeline"])


for _name in (
    "pipeline.py",
    "setup.py",
    "conftest.py",
    "unet/modeling.py",
    "run.sh",
    "unet/native.so",
    "notes.ipynb",
):

    @bad("18", "unused-code", 1, name=f"stray_{_name}")
    def stray_code(a: Arena, name: str = _name) -> None:
        a.write(name, code(a).encode())


for _name in ("cmd", "vbs", "hta", "pyw", "jar", "lnk", "desktop", "command"):

    @bad("18", "unused-code", 1, name=f"stray_{_name}")
    def stray_script(a: Arena, name: str = _name) -> None:
        a.write(f"unet/run.{name}", b"x")


@bad("own", "unused-code", 1)
def program_without_a_name(a: Arena) -> None:
    a.write("unet/data", b"\x7fELF" + bytes(60))


@bad("19", "auto-map", 1)
def auto_map_in_text_encoder(a: Arena) -> None:
    set_keys(a.file("text_encoder/config.json"), auto_map={"AutoModel": "modeling.Evil"})


@bad("19", "auto-map", 1)
def auto_map_in_tokenizer(a: Arena) -> None:
    set_keys(a.file("tokenizer/tokenizer_config.json"), auto_map={"AutoTokenizer": ["tok.Evil", None]})


@bad("20", "kernel-field")
def kernel_in_attention(a: Arena) -> None:
    set_keys(a.file("text_encoder/config.json"), _attn_implementation_internal="someone/kernel")


@bad("20", "kernel-field")
def kernel_hidden_deep(a: Arena) -> None:
    set_keys(
        a.file("unet/config.json"), extra={"list": [{"attn_implementation": {"": "someone/kernel:forward"}}]}
    )


@bad("21", "quantised")
def quantised(a: Arena) -> None:
    set_keys(a.file("text_encoder/config.json"), quantization_config={"quant_method": "gptq", "bits": 4})


@bad("22", "hidden-adapter", 1)
def hidden_adapter(a: Arena) -> None:
    a.write(
        "text_encoder/adapter_config.json",
        json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}).encode(),
    )
    lora = {"base_model.model.x.lora_A.weight": ["F32", [2, 4], bytes(32)]}
    a.write("text_encoder/adapter_model.safetensors", pack(lora))


@bad("22", "hidden-adapter", 1)
def hidden_adapter_is_a_link(a: Arena) -> None:
    a.write("notes.json", json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}).encode())
    a.file("text_encoder/adapter_config.json").symlink_to("../notes.json")


@bad("23", "adapter-module")
def adapter_names_a_module(a: Arena) -> None:
    value = {"peft_type": "LORA", "r": 2, "megatron_config": {"x": 1}, "megatron_core": "evil"}
    a.write("text_encoder/adapter_config.json", json.dumps(value).encode())


@bad("23", "adapter-module")
def adapter_names_a_parent(a: Arena) -> None:
    value = {"peft_type": "LORA", "auto_mapping": {"base_model_class": "X", "parent_library": "evil"}}
    a.write("text_encoder/adapter_config.json", json.dumps(value).encode())


@bad("24", "template", 0)
def template(a: Arena) -> None:
    set_keys(
        a.file("tokenizer/tokenizer_config.json"),
        chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}",
    )


@bad("24", "template", 0)
def template_file(a: Arena) -> None:
    a.write("tokenizer/chat_template.jinja", b"{{ cycler.__init__.__globals__.os.mkdir('x') }}")


@bad("25", "connected-pipeline", 1)
def card_names_another_model(a: Arena) -> None:
    a.write("README.md", b"---\nlicense: mit\nprior:\n- someone/other\n---\n# model\n")


for _name, _key in {
    "quoted": '"prior":', "single_quoted": "'prior' :", "escaped": '"pr\\x69or":',
    "in_braces": "{license: mit, prior:", "tagged": "!!str prior:",
    "asked": "? prior\n:", "far_down": "a: |\n" + " x\n" * 40_000 + "prior:",
}.items():  # fmt: skip

    @bad("25", "connected-pipeline", 1, name=f"card_key_{_name}")
    def card_key(a: Arena, key: str = _key) -> None:
        a.write(
            "README.md", f"---\n{key} [someone/other]{'}' * key.startswith('{')}\n---\n# model\n".encode()
        )


@bad("25", "connected-pipeline", 1)
def card_begins_with_blank_lines(a: Arena) -> None:
    a.write("README.md", b" \n---\nlicense: mit\r\n---x: y\r\nprior: [someone/other]\r\n---\n")


def shard_index(a: Arena, folder: str, name: str, target: str) -> None:
    weights = a.file(f"{folder}/{name}")
    table = dict.fromkeys(load_tensors(weights), target)
    weights.rename(a.outside / name)
    a.write(f"{folder}/{name}.index.json", json.dumps({"metadata": {}, "weight_map": table}).encode())


@bad("26", "shard-path")
def unet_shard_outside(a: Arena) -> None:
    shard_index(
        a, "unet", "diffusion_pytorch_model.safetensors", "../../outside/diffusion_pytorch_model.safetensors"
    )


@bad("27", "shard-path")
def text_shard_outside(a: Arena) -> None:
    shard_index(a, "text_encoder", "model.safetensors", "../../outside/model.safetensors")


@bad("28", "shard-path")
def text_shard_absolute(a: Arena) -> None:
    shard_index(a, "text_encoder", "model.safetensors", str(a.outside / "model.safetensors"))


@bad("own", "shard-path")
def shard_with_backslash(a: Arena) -> None:
    shard_index(
        a,
        "vae",
        "diffusion_pytorch_model.safetensors",
        "..\\..\\outside\\diffusion_pytorch_model.safetensors",
    )


@bad("own", "shard-path")
def shard_is_a_pickle_name(a: Arena) -> None:
    shard_index(a, "vae", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


@bad("own", "link-outside")
def shard_is_a_link(a: Arena) -> None:
    shard_index(a, "text_encoder", "model.safetensors", "model-1.safetensors")
    a.file("text_encoder/model-1.safetensors").symlink_to(a.outside / "model.safetensors")


@bad("own", "shard-index")
def shard_is_missing(a: Arena) -> None:
    shard_index(a, "vae", "diffusion_pytorch_model.safetensors", "gone.safetensors")


@bad("own", "shard-index")
def very_many_shards(a: Arena) -> None:
    a.file(UNET).unlink()
    table = {f"t{i}": f"s{i}.safetensors" for i in range(5_000)}
    a.write(UNET + ".index.json", json.dumps({"weight_map": table}).encode())


@bad("own", "shard-index")
def weight_map_is_a_list(a: Arena) -> None:
    a.file(UNET).unlink()
    a.write(UNET + ".index.json", b'{"weight_map": ["a.safetensors"]}')


@bad("29", "ambiguous-weights", 1)
def index_beside_single_file(a: Arena) -> None:
    a.write(
        UNET + ".index.json", json.dumps({"weight_map": {"conv_in.weight": "other.safetensors"}}).encode()
    )


@bad("30", "second-variant", 1)
def second_variant(a: Arena) -> None:
    a.write("unet/diffusion_pytorch_model.fp16.safetensors", a.file(UNET).read_bytes())


@bad("31", "shard-index")
def index_misses_a_tensor(a: Arena) -> None:
    a.split("unet", "diffusion_pytorch_model")
    edit_json(a.file(UNET + ".index.json"), lambda v: v["weight_map"].pop("conv_in.weight") and None)


@bad("31", "duplicate-key")
def index_lists_twice(a: Arena) -> None:
    a.split("unet", "diffusion_pytorch_model")
    path = a.file(UNET + ".index.json")
    path.write_text(
        path.read_text().replace('"weight_map": {', '"weight_map": {"conv_in.weight": "a.safetensors", ')
    )


@bad("31", "shard-index")
def tensor_in_two_shards(a: Arena) -> None:
    a.split("unet", "diffusion_pytorch_model")
    for path in sorted(a.file("unet").glob("*-of-*.safetensors")):
        tensors = load_tensors(path)
        tensors["conv_in.weight"] = ["F32", [1], bytes(4)]
        path.write_bytes(pack(tensors))


@bad("own", "extra-weights", 1)
def whole_checkpoint_beside(a: Arena) -> None:
    a.write("v1-5-pruned.safetensors", a.file(UNET).read_bytes())


@bad("own", "extra-weights", 1)
def embedding_beside(a: Arena) -> None:
    a.write("learned_embeds.safetensors", pack({"emb_params": ["F32", [1, 16], bytes(64)]}))


@bad("own", "extra-weights", 1)
def lora_beside(a: Arena) -> None:
    pair = {
        "unet.x.lora_A.weight": ["F32", [1, 4], bytes(16)],
        "unet.x.lora_B.weight": ["F32", [4, 1], bytes(16)],
    }
    a.write("pytorch_lora_weights.safetensors", pack(pair))


@bad("own", "not-safetensors")
def disguised_pickle_beside(a: Arena) -> None:
    a.write("unet/extra.safetensors", payload(a, protocol=4))


@bad("own", "other-format", 0)
def other_framework_beside(a: Arena) -> None:
    a.write("unet/model.onnx", b"\x08\x07")


@bad("own", "missing-weights")
def no_weights(a: Arena) -> None:
    a.file(VAE).unlink()


@bad("own", "config-missing")
def no_config(a: Arena) -> None:
    a.file("vae/config.json").unlink()


@bad("own", "not-found")
def hub_name(a: Arena) -> None:
    a.source = "someone/some-model"


@bad("own", "not-found")
def name_with_nul(a: Arena) -> None:
    a.source = "model\x00name"


@bad("own", "not-found")
def dangling_source(a: Arena) -> None:
    a.source = a.arena / "dangling"
    a.source.symlink_to("nowhere")


@bad("own", "index")
def empty_folder(a: Arena) -> None:
    a.source = a.arena / "empty"
    a.source.mkdir()


@bad("own", "unreadable")
def index_linked_inside(a: Arena) -> None:
    a.file("model_index.json").rename(a.file("other.json"))
    a.file("model_index.json").symlink_to("other.json")


@bad("own", "unreadable")
def config_linked_inside(a: Arena) -> None:
    a.file("vae/config.json").rename(a.file("vae/other.json"))
    a.file("vae/config.json").symlink_to("other.json")


@bad("own", "missing-weights")
def component_folder_linked_inside(a: Arena) -> None:
    a.file("vae").rename(a.file("vae2"))
    a.file("vae").symlink_to("vae2")


@bad("own", "inventory-limit")
def weights_of_half_a_terabyte(a: Arena) -> None:
    size = 512 << 30
    head = json.dumps(
        {"conv_in.weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    ).encode()
    a.sparse(VAE, 8 + len(head) + size, len(head).to_bytes(8, "little") + head)


@bad("own", "inventory-limit", name="lora_of_half_a_terabyte")
def large_lora(a: Arena) -> None:
    a.source = a.arena / "lora.safetensors"
    size = 256 << 30
    half = {"dtype": "F32", "shape": [1, size // 4]}, {"dtype": "F32", "shape": [size // 4, 1]}
    names = "unet.x.lora_A.weight", "unet.x.lora_B.weight"
    table = {
        n: {**h, "data_offsets": [i * size, (i + 1) * size]}
        for i, (n, h) in enumerate(zip(names, half, strict=True))
    }
    head = json.dumps(table).encode()
    a.sparse("../lora.safetensors", 8 + len(head) + 2 * size, len(head).to_bytes(8, "little") + head)


@bad("own", "inventory-limit")
def checkpoint_of_half_a_terabyte(a: Arena) -> None:
    a.source = a.arena / "checkpoint.safetensors"
    size = 512 << 30
    first = "model.diffusion_model.input_blocks.0.0.weight"
    table = {first: {"dtype": "F32", "shape": [size // 16, 4, 1, 1], "data_offsets": [0, size]}}
    head = json.dumps(table).encode()
    a.sparse("../checkpoint.safetensors", 8 + len(head) + size, len(head).to_bytes(8, "little") + head)


@bad("own", "extra-weights", 1)
def weights_in_a_folder_of_a_tool(a: Arena) -> None:
    a.file(".cache/huggingface").mkdir(parents=True)
    a.write(".cache/huggingface/pytorch_lora_weights.safetensors", pack({"x": ["F32", [1], bytes(4)]}))


@bad("own", "unused-pickle", 1)
def pickle_in_a_folder_of_a_tool(a: Arena) -> None:
    a.file("unet/.git").mkdir()
    a.write("unet/.git/diffusion_pytorch_model.bin", payload(a))


@bad("own", "not-entered", 0)
def many_files_in_a_folder_of_a_tool(a: Arena) -> None:
    a.file(".git").mkdir()
    first = a.write(".git/0", b"x")
    for i in range(1, 6_000):
        os.link(first, a.file(f".git/{i}"))


@bad("own", "tensor-count")
def very_many_names_in_many_shards(a: Arena) -> None:
    """As many names as are read, over as many shards as are read; all agree until there are too many
    tensors.
    """
    a.file(UNET).unlink()
    table = {f"t{i}": f"s{i % 256:03}.safetensors" for i in range(200_000)}
    for i in range(70):
        a.write(
            f"unet/s{i:03}.safetensors", pack({f"t{n}": ["F32", [0], b""] for n in range(i, 200_000, 256)})
        )
    a.write(UNET + ".index.json", json.dumps({"weight_map": table}).encode())


@bad("own", "extra-weights", 1)
def many_long_headers_beside(a: Arena) -> None:
    for i in range(12):
        a.sparse(
            f"extra{i}.safetensors", 9 << 20, (7 << 20).to_bytes(8, "little") + b'{"__metadata__":{"a":"'
        )


@bad("23", "adapter-module")
def adapter_behind_decoys(a: Arena) -> None:
    for i in range(60):
        a.file(f"a{i}").mkdir()
        a.write(f"a{i}/adapter_config.json", b"{}")
    adapter_names_a_module(a)


@bad("own", "extra-weights", 1)
def lora_beside_the_feature_extractor(a: Arena) -> None:
    a.file("feature_extractor").mkdir()
    set_keys(a.file("model_index.json"), feature_extractor=["transformers", "CLIPImageProcessor"])
    lora_beside(a)
    a.file("pytorch_lora_weights.safetensors").rename(
        a.file("feature_extractor/pytorch_lora_weights.safetensors")
    )


@bad("own", "link-outside")
def single_file_is_a_link(a: Arena) -> None:
    weights = a.outside / "lora.safetensors"
    weights.write_bytes((a.built / "lora" / "pytorch_lora_weights.safetensors").read_bytes())
    a.source = a.arena / "lora.safetensors"
    a.source.symlink_to(weights)


@bad("own", "hidden-adapter", 1)
def many_adapter_configs(a: Arena) -> None:
    for i in range(60):
        a.file(f"a{i}").mkdir()
        a.write(f"a{i}/adapter_config.json", b'{"x": "' + b"y" * 900_000 + b'"}')


@bad("own", "link-inside", 1)
def card_linked_inside(a: Arena) -> None:
    a.write("LICENSE", b"MIT")
    a.file("README.md").symlink_to("LICENSE")


def checker(a: Arena, **config: Any) -> None:
    """The optional safety checker, whose files are not staged."""
    a.file("safety_checker").mkdir()
    set_keys(a.file("model_index.json"), safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    a.write("safety_checker/config.json", json.dumps({"model_type": "clip", **config}).encode())


@bad("own", "kernel-field")
def kernel_of_the_safety_checker(a: Arena) -> None:
    checker(a, vision_config={"_attn_implementation_internal": "someone/kernel"})


@bad("own", "quantised")
def safety_checker_is_quantised(a: Arena) -> None:
    checker(a, quantization_config={"quant_method": "someone"})


@bad("own", "auto-map", 1)
def code_of_the_safety_checker(a: Arena) -> None:
    checker(a, auto_map={"AutoModel": "evil.Model"})


@bad("own", "duplicate-key")
def safety_checker_says_it_twice(a: Arena) -> None:
    checker(a)
    a.write("safety_checker/config.json", b'{"model_type": "clip", "model_type": "evil"}')


@bad("own", "kernel-field")
def kernel_in_another_folder(a: Arena) -> None:
    a.file("other").mkdir()
    a.write("other/config.json", b'{"attn_implementation": "someone/kernel"}')


for _name, _file, _target in (
    ("safety_checker", "safety_checker/model.safetensors.index.json", "../../secret.safetensors"),
    ("variant", "unet/diffusion_pytorch_model.safetensors.index.fp16.json", "/etc/secret.safetensors"),
    ("pickle", "vae/diffusion_pytorch_model.bin.index.json", "parts/one.bin"),
    ("beside_a_single_file", "unet/diffusion_pytorch_model.safetensors.index.json", "../secret.safetensors"),
    ("another_folder", "other/model.safetensors.index.json", "..\\secret.safetensors"),
):

    @bad("28", "shard-path", name=f"unused_index_{_name}")
    def unused_index(a: Arena, file: str = _file, target: str = _target) -> None:
        a.file(file).parent.mkdir(exist_ok=True)
        a.write(file, json.dumps({"weight_map": {"conv_in.weight": target}}).encode())


@bad("own", "shard-index")
def unused_index_is_no_table(a: Arena) -> None:
    a.write("unet/diffusion_pytorch_model.safetensors.index.fp16.json", b'{"weight_map": ["../x"]}')


@bad("own", "inventory-limit")
def many_configs_in_a_component(a: Arena) -> None:
    for i in range(70):
        a.write(f"unet/{i}config.json", b'{"x": "' + b"y" * 900_000 + b'"}')
