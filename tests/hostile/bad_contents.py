"""Bad inputs about contents: safetensors headers, values, configs, tokenizers, LoRAs."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

from arena import Arena, bad
from bad_files import TEXT, UNET, VAE, torch_zip
from intake_fixtures import edit_json, edit_tensors, load_tensors, pack, set_keys, spelled, with_header

from nightlatch.intake import buffers

NAN, INF = b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f"
ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def raw_header(a: Arena, head: Any, body: bytes = b"\0\0\0\0") -> None:
    a.write(UNET, with_header(head if isinstance(head, bytes) else json.dumps(head).encode(), body))


@bad("32", "header")
def header_length_is_huge(a: Arena) -> None:
    a.write(UNET, struct.pack("<Q", 1 << 62) + b"{}" + bytes(100))


@bad("32", "header")
def truncated(a: Arena) -> None:
    a.write(UNET, a.file(UNET).read_bytes()[:-1000])


@bad("32", "header")
def empty(a: Arena) -> None:
    a.write(UNET, b"")


@bad("own", "header")
def seven_bytes(a: Arena) -> None:
    a.write(UNET, b"1234567")


@bad("33", "header-size")
def header_of_101_megabytes(a: Arena) -> None:
    a.sparse(UNET, 102 << 20, struct.pack("<Q", 101 << 20) + b'{"')


@bad("34", "header")
def brackets(a: Arena) -> None:
    raw_header(a, b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b"")


@bad("34", "tensor-count")
def braces(a: Arena) -> None:
    raw_header(a, b'{"a":' * 200_000 + b"1" + b"}" * 200_000, b"")


@bad("35", "duplicate-key")
def tensor_twice(a: Arena) -> None:
    one = json.dumps(ONE)
    raw_header(a, f'{{"conv_in.bias": {one}, "conv_in.bias": {one}}}'.encode())


@bad("36", "offsets")
def overlap(a: Arena) -> None:
    raw_header(a, {"a": ONE, "b": {**ONE, "data_offsets": [2, 6]}}, bytes(6))


@bad("36", "offsets")
def gap(a: Arena) -> None:
    raw_header(a, {"a": ONE, "b": {**ONE, "data_offsets": [8, 12]}}, bytes(12))


@bad("36", "offsets")
def trailing_archive(a: Arena) -> None:
    a.write(UNET, a.file(UNET).read_bytes() + torch_zip(a))


@bad("own", "polyglot", 1)
def archive_inside_a_tensor(a: Arena) -> None:
    last = max(load_tensors(a.file(UNET)).items(), key=lambda item: len(item[1][2]))[0]

    def hide(tensors: dict[str, Any]) -> None:
        dtype, shape, data = tensors.pop(last)
        archive = torch_zip(a)
        tensors[last] = [dtype, shape, data[: len(data) - len(archive)] + archive]

    edit_tensors(a.file(UNET), hide)


@bad("37", "unknown-dtype")
def unknown_dtype(a: Arena) -> None:
    raw_header(a, {"a": {**ONE, "dtype": "F31"}})


@bad("37", "shape")
def shape_overflows(a: Arena) -> None:
    raw_header(a, {"a": {**ONE, "shape": [1 << 32, 1 << 32, 4]}})


@bad("37", "metadata")
def metadata_is_a_number(a: Arena) -> None:
    raw_header(a, {"__metadata__": {"format": 1}, "a": ONE})


@bad("own", "metadata")
def metadata_is_a_list(a: Arena) -> None:
    raw_header(a, {"__metadata__": ["pt"], "a": ONE})


@bad("38", "tensor-count")
def very_many_tensors(a: Arena) -> None:
    rows = ",".join(
        f'"{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{i + 1}]}}' for i in range(200_000)
    )
    raw_header(a, f"{{{rows}}}".encode(), bytes(200_000))


@bad("38", "tensor-count")
def many_tensors_in_a_short_header(a: Arena) -> None:
    rows = ",".join(f'"{i}":{{"dtype":"U8","shape":[],"data_offsets":[{i},{i + 1}]}}' for i in range(60_000))
    raw_header(a, f"{{{rows}}}".encode(), bytes(60_000))


for _name, _text in {"ansi": "\x1b[31mred", "bidi": "a\u202eb"}.items():

    @bad("39", "metadata-text", 0, name=f"metadata_{_name}")
    def metadata(a: Arena, text: str = _text) -> None:
        edit_tensors(a.file(UNET), lambda t: None, metadata={"title": text})


for _name, _entry in {
    "boolean_shape": {**ONE, "shape": [True]}, "negative_shape": {**ONE, "shape": [-1]},
    "float_shape": {**ONE, "shape": [1.0]},
    "text_shape": {**ONE, "shape": ["aaaa", 10**9]}, "many_axes": {**ONE, "shape": [1] * 17},
    "wrong_bytes": {**ONE, "shape": [2]},
}.items():  # fmt: skip

    @bad("own", "shape", name=f"header_{_name}")
    def bad_shape(a: Arena, entry: dict[str, Any] = _entry) -> None:
        raw_header(a, {"a": entry})


for _name, _entry in {
    "backwards": {**ONE, "data_offsets": [4, 0]}, "negative": {**ONE, "data_offsets": [-4, 0]},
    "one_offset": {**ONE, "data_offsets": [4]}, "float_offset": {**ONE, "data_offsets": [0.0, 4]},
}.items():  # fmt: skip

    @bad("own", "offsets", name=f"header_{_name}")
    def bad_offsets(a: Arena, entry: dict[str, Any] = _entry) -> None:
        raw_header(a, {"a": entry})


for _name, _head in {
    "not_json": b"{nonsense}", "a_list": b'["a"]', "with_mark": b"\xef\xbb\xbf{}", "not_utf8": b'{"\xff": 1}',
    "with_nan": b'{"a": NaN}',
    "extra_field": json.dumps({"a": {**ONE, "x": 1}}).encode(),
    "no_offsets": b'{"a": {"dtype": "F32", "shape": []}}',
    "half_character": b'{"\\ud800": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "entry_is_text": b'{"a": "b"}',
    "long_number": b'{"a": {"dtype":"F32","shape":[' + b"9" * 9000 + b'],"data_offsets":[0,4]}}',
    "long_name": json.dumps({"n" * 2000: ONE}).encode(),
}.items():  # fmt: skip

    @bad("own", "header", name=f"header_{_name}")
    def bad_header(a: Arena, head: bytes = _head) -> None:
        raw_header(a, head)


def poke(a: Arena, path: str, name: str, value: bytes) -> None:
    """Overwrite the first bytes of one tensor."""

    def change(tensors: dict[str, Any]) -> None:
        tensor = tensors[spelled(tensors, name)]
        tensor[2] = value + tensor[2][len(value) :]

    edit_tensors(a.file(path), change)


@bad("40", "non-finite")
def tensor_is_nan(a: Arena) -> None:
    poke(a, UNET, "conv_in.bias", NAN * 8)


@bad("41", "non-finite")
def embedding_is_infinite(a: Arena) -> None:
    poke(a, TEXT, "embeddings.token_embedding.weight", INF)


@bad("41", "non-finite")
def embedding_is_minus_infinite(a: Arena) -> None:
    poke(a, TEXT, "embeddings.token_embedding.weight", struct.pack("<f", float("-inf")))


@bad("41", "range", 1)
def overflows_half_precision(a: Arena) -> None:
    poke(a, UNET, "conv_in.weight", struct.pack("<f", -1e6))


@bad("own", "non-finite")
def half_precision_nan(a: Arena) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors["conv_out.bias"] = ["BF16", [4], b"\x81\xff" * 4]

    edit_tensors(a.file(UNET), change)


@bad("42", "missing-keys")
def tensor_missing(a: Arena) -> None:
    edit_tensors(a.file(UNET), lambda t: t.pop("mid_block.resnets.0.conv1.weight"))


@bad("42", "missing-keys")
def text_norm_missing(a: Arena) -> None:
    edit_tensors(a.file(TEXT), lambda t: t.pop(spelled(t, "final_layer_norm.weight")))


@bad("43", "extra-keys", 1)
def extra_tensor(a: Arena) -> None:
    edit_tensors(a.file(UNET), lambda t: t.update({"hidden.weight": ["F32", [1], bytes(4)]}))


@bad("44", "shape-mismatch")
def wrong_shape(a: Arena) -> None:
    edit_tensors(a.file(UNET), lambda t: t.update({"conv_in.bias": ["F32", [9], bytes(36)]}))


@bad("44", "config-exceeds-weights")
def smaller_shape(a: Arena) -> None:
    edit_tensors(a.file(VAE), lambda t: t.update({"decoder.conv_in.bias": ["F32", [1], bytes(4)]}))


for _dtype, _width in (("I64", 8), ("F8_E4M3", 1), ("BOOL", 1)):

    @bad("45", "dtype", 1, name=f"weights_are_{_dtype}")
    def odd_dtype(a: Arena, dtype: str = _dtype, width: int = _width) -> None:
        edit_tensors(a.file(UNET), lambda t: t.update({"conv_in.bias": [dtype, [8], bytes(8 * width)]}))


@bad("45", "dtype", 1)
def lora_is_not_floating_point(a: Arena) -> None:
    def change(t: dict[str, Any]) -> None:
        t.update({k: ["I8", s, b[: len(b) // 4]] for k, (_, s, b) in t.items()})

    lora(a, change)


@bad("45", "dtype")
def checkpoint_is_not_floating_point(a: Arena) -> None:
    a.source = a.arena / "checkpoint.safetensors"
    a.source.write_bytes(
        pack({"model.diffusion_model.input_blocks.0.0.weight": ["I32", [1, 4, 1, 1], bytes(16)]})
    )


@bad("46", "degenerate")
def unet_is_zero(a: Arena) -> None:
    edit_tensors(a.file(UNET), lambda t: t.update({k: [d, s, bytes(len(b))] for k, (d, s, b) in t.items()}))


@bad("46", "degenerate")
def text_encoder_is_constant(a: Arena) -> None:
    one = struct.pack("<f", 0.5)
    edit_tensors(
        a.file(TEXT), lambda t: t.update({k: [d, s, one * (len(b) // 4)] for k, (d, s, b) in t.items()})
    )


@bad("own", "missing-keys")
def no_tensors(a: Arena) -> None:
    a.write(TEXT, with_header(b"{}"))
    set_keys(a.file("text_encoder/config.json"), num_hidden_layers=1)


def config_case(number: str, rule: str, name: str, file: str, code: int = 2, **keys: Any) -> None:
    """A case that sets keys of one config."""

    @bad(number, rule, code, name=name)
    def build(a: Arena) -> None:
        set_keys(a.file(file), **keys)


UC, VC, TC = "unet/config.json", "vae/config.json", "text_encoder/config.json"
SC, KC = "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"
INDEX = "model_index.json"
config_case("47", "config-exceeds-weights", "many_layers", UC, layers_per_block=200_000)
config_case("47", "config-exceeds-weights", "many_vae_layers", VC, layers_per_block=10**9)
config_case("47", "config-exceeds-weights", "deep_transformers", UC, transformer_layers_per_block=10**6)
config_case("48", "config-exceeds-weights", "many_text_layers", TC, num_hidden_layers=10**6)
config_case("49", "config-exceeds-weights", "wide_unet", UC, block_out_channels=[1 << 20, 1 << 20])
config_case("49", "config-exceeds-weights", "large_vocabulary", TC, vocab_size=1 << 40)
config_case("own", "config-exceeds-weights", "many_positions", TC, max_position_embeddings=1 << 40)
config_case("own", "config-bound", "absurd_width", TC, intermediate_size=10**40)
config_case("own", "config-value", "too_many_blocks", UC, block_out_channels=[8] * 5000)
config_case("50", "config-bound", "scheduler_steps", SC, num_train_timesteps=10**11)
config_case("51", "config-value", "nan_betas", SC, beta_start=float("nan"))
config_case("51", "config-value", "zero_scale", VC, scaling_factor=0)
config_case("51", "config-value", "zero_deviation", VC, latents_mean=[0] * 4, latents_std=[0] * 4)
config_case("52", "config-bound", "large_sample", UC, sample_size=10**6)
config_case("52", "config-bound", "large_sample_pair", VC, sample_size=[512, 10**6])
config_case("own", "config-value", "betas_reversed", SC, beta_start=0.02, beta_end=0.001)
config_case("own", "config-value", "trained_betas", SC, trained_betas=[0.1, "x"])
config_case(
    "own", "config-value", "zero_snr_and_epsilon", SC, rescale_betas_zero_snr=True, prediction_type="epsilon"
)
config_case(
    "own",
    "config-value",
    "zero_snr_and_no_prediction_type",
    SC,
    rescale_betas_zero_snr=True,
    prediction_type=None,
)
config_case(
    "own", "config-value", "zero_snr_is_text", SC, rescale_betas_zero_snr="no", prediction_type="v_prediction"
)
config_case(
    "own",
    "config-value",
    "trained_betas_of_one",
    SC,
    trained_betas=[1.0] * 1000,
    prediction_type="v_prediction",
)
config_case("own", "config-value", "trained_betas_of_nearly_one", SC, trained_betas=[0.9] * 1000)
config_case("own", "config-value", "few_trained_betas", SC, trained_betas=[0.01] * 10)
config_case("own", "config-value", "never_noise", SC, beta_start=1e-8, beta_end=1e-8)
config_case("own", "config-value", "noise_at_last_only", SC, trained_betas=[1e-5] * 998 + [0.99] * 2)
config_case(
    "own", "config-value", "never_a_picture", SC, beta_start=0.5, beta_end=0.5, prediction_type="v_prediction"
)
config_case("own", "config-value", "few_train_steps", SC, num_train_timesteps=1)
config_case("own", "config-bound", "steps_far_offset", SC, steps_offset=99)
config_case("own", "unsupported-option", "predicts_pictures", SC, prediction_type="sample")
config_case("own", "unsupported-option", "other_betas", SC, beta_schedule="laplace")
for _shift in (2, -1, 0.5, 1e3):
    config_case("own", "config-value", f"time_shift_{_shift}", UC, freq_shift=_shift)
config_case("own", "config-value", "odd_prediction", SC, prediction_type="__import__")
config_case("own", "config-value", "boolean_width", UC, in_channels=True)
config_case("own", "config-value", "negative_layers", UC, layers_per_block=-1)
config_case("own", "config-value", "text_for_a_number", TC, hidden_size="16")
config_case("own", "config-value", "heads_do_not_divide", UC, attention_head_dim=3)
config_case("own", "config-value", "groups_do_not_divide", VC, norm_num_groups=5)
config_case("own", "config-value", "odd_activation", TC, hidden_act="os.system")
config_case("own", "unsupported-option", "odd_block", UC, down_block_types=["EvilBlock2D", "DownBlock2D"])
config_case("own", "unsupported-option", "class_embedding", UC, class_embed_type="projection")
config_case("own", "unsupported-option", "whole_clip", TC, model_type="clip", text_config={})
config_case("own", "component-mismatch", "other_latents", UC, in_channels=9)
config_case("own", "index", "config_of_another_class", UC, _class_name="UNet2DModel")
config_case("own", "unknown-key", "unknown_keys", UC, 0, surprise=1)
config_case("53", "index", "class_is_missing", INDEX, _class_name=None)
config_case("53", "custom-code", "class_is_a_list", INDEX, _class_name=["a", "b"])
config_case("54", "index", "component_path", INDEX, **{"../../x": ["diffusers", "UNet2DConditionModel"]})
config_case("54", "index", "class_of_another_family", INDEX, unet=["diffusers", "FluxTransformer2DModel"])
config_case("54", "index", "class_for_another_slot", INDEX, unet=["diffusers", "AutoencoderKL"])
config_case("54", "index", "library_for_another_slot", INDEX, unet=["transformers", "UNet2DConditionModel"])
config_case("own", "index", "component_is_null", INDEX, unet=[None, None])
config_case("own", "index", "component_is_text", INDEX, unet="diffusers")
config_case("own", "index", "component_of_numbers", INDEX, unet=[1, 2])
for _cls in (
    "StableDiffusionXLPipeline",
    "StableDiffusion3Pipeline",
    "FluxPipeline",
    "PixArtAlphaPipeline",
    "EvilPipeline",
    "os.system",
):
    config_case("own", "unsupported-pipeline", f"pipeline_{_cls}", INDEX, _class_name=_cls)
config_case("59", "config-bound", "length_10_to_30", KC, model_max_length=10**30)
config_case("own", "config-exceeds-weights", "length_beyond_positions", KC, model_max_length=4096)
config_case("own", "special-token", "end_token_is_a_word", KC, 1, eos_token="cat")
config_case("own", "special-token", "further_special_token", KC, 1, extra_special_tokens=["cat"])
config_case("own", "special-token", "token_for_masks", KC, 1, mask_token="cat")
config_case(
    "own", "special-token", "token_of_another_name", KC, 1, image_token={"content": "cat", "lstrip": True}
)
config_case("own", "special-token", "token_in_a_word_mark", KC, 1, cls_token="!")
config_case(
    "own",
    "special-token",
    "token_behind_another",
    KC,
    1,
    additional_special_tokens=["<s>"],
    extra_special_tokens=["cat"],
)
config_case("own", "special-token", "token_by_name", KC, 1, extra_special_tokens={"animal": "cat"})
config_case("own", "tokenizer-map", "token_is_a_number", KC, bos_token=5)
config_case(
    "own",
    "tokenizer-map",
    "token_with_an_odd_flag",
    KC,
    bos_token={"content": "<|startoftext|>", "run": True},
)
config_case("own", "tokenizer-map", "added_without_id", KC, added_tokens_decoder={"x": {"content": "sks"}})
config_case(
    "own", "tokenizer-setting", "another_tokenizer_file", KC, fast_tokenizer_files=["tokenizer.4.0.0.json"]
)
config_case("own", "tokenizer-setting", "tokenizer_file_elsewhere", KC, tokenizer_file="../../tokenizer.json")
config_case("own", "tokenizer-setting", "vocabulary_in_the_settings", KC, vocab={"cat</w>": 7})
config_case("own", "tokenizer-setting", "converted_from_gguf", KC, gguf_file="x.gguf")
config_case("own", "tokenizer-rewrite", "fills_up_on_the_left", KC, 1, padding_side="left")
config_case("own", "tokenizer-rewrite", "cuts_prompts_early", KC, 1, model_max_length=4)
config_case("own", "tokenizer-rewrite", "keeps_capitals", KC, 1, do_lower_case=False)
config_case("own", "tokenizer-rewrite", "another_tokenizer_class", KC, 1, tokenizer_class="BertTokenizer")


@bad("53", "index")
def index_is_a_list(a: Arena) -> None:
    a.write(INDEX, b"[1]")


@bad("53", "index")
def index_is_not_utf8(a: Arena) -> None:
    a.write(INDEX, a.file(INDEX).read_bytes().replace(b"null", b'"\xff"'))


@bad("53", "index")
def index_is_missing(a: Arena) -> None:
    a.file(INDEX).unlink()


@bad("53", "index")
def index_holds_nan(a: Arena) -> None:
    set_keys(a.file(INDEX), x=float("nan"))


@bad("53", "duplicate-key")
def index_names_a_component_twice(a: Arena) -> None:
    text = a.file(INDEX).read_text().rstrip().removesuffix("}")
    a.write(INDEX, (text + ', "unet": ["os", "mkdir"]}').encode())


@bad("own", "index")
def index_misses_a_component(a: Arena) -> None:
    edit_json(a.file(INDEX), lambda v: v.pop("vae") and None)


@bad("own", "json")
def config_is_nested(a: Arena) -> None:
    a.write(UC, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


@bad("own", "json")
def config_is_nested_a_little(a: Arena) -> None:
    a.write(UC, b'{"a":' + b"[" * 100 + b"]" * 100 + b"}")


@bad("own", "config-bound")
def config_is_long(a: Arena) -> None:
    a.write(UC, b'{"a": "' + b"x" * (2 << 20) + b'"}')


@bad("own", "config-value")
def config_number_overflows(a: Arena) -> None:
    a.write(UC, b'{"in_channels": 1e999}')


@bad("own", "duplicate-key")
def config_key_twice(a: Arena) -> None:
    a.write(UC, b'{"in_channels": 4, "in_channels": 5}')


TOKENIZER = "tokenizer/tokenizer.json"


def generic(a: Arena) -> None:
    """Make the pipeline use tokenizer.json as it stands."""
    set_keys(a.file(INDEX), tokenizer=["transformers", "PreTrainedTokenizerFast"])


def rewrite_cat(v: Any) -> None:
    v["normalizer"]["normalizers"].append({"type": "Replace", "pattern": {"String": "cat"}, "content": "dog"})


@bad("55", "tokenizer-rewrite", 1)
def generic_tokenizer_rewrites(a: Arena) -> None:
    generic(a)
    edit_json(a.file(TOKENIZER), rewrite_cat)


@bad("56", "tokenizer-rewrite", 1)
def clip_tokenizer_rewrites(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), rewrite_cat)


@bad("own", "tokenizer-rewrite", 1)
def pre_tokenizer_differs(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v.update(pre_tokenizer={"type": "Whitespace"}))


@bad("own", "tokenizer-rewrite", 1)
def post_processor_adds_a_token(a: Arena) -> None:
    edit_json(
        a.file(TOKENIZER), lambda v: v.update(post_processor={"type": "TemplateProcessing", "single": []})
    )


@bad("own", "tokenizer-rewrite", 1)
def two_words_swap_ids(a: Arena) -> None:
    def swap(v: Any) -> None:
        vocab = v["model"]["vocab"]
        vocab["cat</w>"], vocab["dog</w>"] = vocab["dog</w>"], vocab["cat</w>"]

    edit_json(a.file(TOKENIZER), swap)


@bad("own", "tokenizer-rewrite", 1)
def random_dropout(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v["model"].update(dropout=0.5))


@bad("own", "tokenizer-rewrite", 1)
def two_vocabularies_disagree(a: Arena) -> None:
    model = json.loads(a.file(TOKENIZER).read_text())["model"]
    vocab = {k: v for k, v in model["vocab"].items() if k not in ("a", "b")} | {
        "a": model["vocab"]["b"],
        "b": model["vocab"]["a"],
    }
    a.write("tokenizer/vocab.json", json.dumps(vocab).encode())
    a.write("tokenizer/merges.txt", ("#version: 0.2\n" + "\n".join(map(" ".join, model["merges"]))).encode())


def split_files(a: Arena, merges: list[list[str]] | None = None) -> None:
    """vocab.json and merges.txt beside tokenizer.json, as older libraries want them."""
    model = json.loads(a.file(TOKENIZER).read_text())["model"]
    a.write("tokenizer/vocab.json", json.dumps(model["vocab"]).encode())
    pairs = model["merges"] if merges is None else merges
    a.write("tokenizer/merges.txt", ("#version: 0.2\n" + "\n".join(map(" ".join, pairs)) + "\n").encode())


_REWRITES: dict[str, Callable[[Any], Any]] = {
    "no_merges": lambda v: v["model"].update(merges=[]),
    "last_merge_removed": lambda v: v["model"]["merges"].pop() and None,
    "merge_listed_again_later": lambda v: v["model"]["merges"].append(v["model"]["merges"][0]),
    "merges_ignored": lambda v: v["model"].update(ignore_merges=True),
    "no_end_of_word": lambda v: v["model"].pop("end_of_word_suffix") and None,
    "start_has_another_id": lambda v: v["post_processor"].update(cls=["<|startoftext|>", 70]),
    "end_has_another_id": lambda v: v["post_processor"].update(sep=["<|endoftext|>", 70]),
    "normalizer_is_null": lambda v: v.update(normalizer=None),
    "normalizer_keeps_capitals": lambda v: v["normalizer"]["normalizers"].pop() and None,
    "pre_tokenizer_is_null": lambda v: v.update(pre_tokenizer=None),
    "pre_tokenizer_without_bytes": lambda v: v["pre_tokenizer"]["pretokenizers"].pop() and None,
    "post_processor_is_null": lambda v: v.update(post_processor=None),
    "decoder_is_null": lambda v: v.update(decoder=None),
    "decoder_replaces": lambda v: v.update(
        decoder={"type": "Replace", "pattern": {"String": "cat"}, "content": "dog"}
    ),
    "cuts_on_the_left": lambda v: v.update(truncation={"direction": "Left", "max_length": 16}),
    "fills_up_with_a_word": lambda v: v.update(
        padding={"strategy": "BatchLongest", "pad_token": "cat</w>", "pad_id": 7}
    ),
    "fills_up_with_another_id": lambda v: v.update(
        padding={"strategy": {"Fixed": 16}, "pad_token": "<|endoftext|>", "pad_id": 7}
    ),
}
for _name, _change in _REWRITES.items():

    @bad("own", "tokenizer-rewrite", 1, name=f"tokenizer_{_name}")
    def rewriting(a: Arena, change: Callable[[Any], Any] = _change) -> None:
        generic(a)
        edit_json(a.file(TOKENIZER), change)


@bad("own", "tokenizer-rewrite", 1)
def start_and_end_swap_ids(a: Arena) -> None:
    def swap(v: Any) -> None:
        first, last = "<|startoftext|>", "<|endoftext|>"
        vocab = v["model"]["vocab"]
        vocab[first], vocab[last] = vocab[last], vocab[first]
        v["added_tokens"] = [{**t, "id": vocab[t["content"]]} for t in v["added_tokens"]]
        v["post_processor"].update(cls=[first, vocab[first]], sep=[last, vocab[last]])

    edit_json(a.file(TOKENIZER), swap)


@bad("own", "tokenizer-rewrite", 1)
def merge_split_otherwise(a: Arena) -> None:
    """The same tokens with the same ids, one of them joined from other halves, so that its word is cut into
    pieces.
    """

    def split(v: Any) -> None:
        v["model"]["merges"][v["model"]["merges"].index(["ca", "t</w>"])] = ["c", "at</w>"]
        v["model"]["merges"].append(["a", "t</w>"])
        v["model"]["vocab"]["at</w>"] = len(v["model"]["vocab"])

    edit_json(a.file(TOKENIZER), split)
    edit_tensors(a.file(TEXT), lambda t: t.update(widened(t, 6000)))
    set_keys(a.file(TC), vocab_size=6000)


@bad("own", "tokenizer-rewrite", 1)
def large_vocabulary_of_another_kind(a: Arena) -> None:
    """Ids turned around: CLIP's tokens, none of them where CLIP has it."""

    def turn(v: Any) -> None:
        vocab = v["model"]["vocab"]
        more = {f"w{i}</w>": len(vocab) + i for i in range(5000)}
        v["model"].update(vocab={k: 5000 + len(vocab) - 1 - n for k, n in (vocab | more).items()})
        v["added_tokens"] = [{**t, "id": v["model"]["vocab"][t["content"]]} for t in v["added_tokens"]]

    edit_json(a.file(TOKENIZER), turn)
    edit_tensors(a.file(TEXT), lambda t: t.update(widened(t, 6000)))
    set_keys(a.file(TC), vocab_size=6000)


def widened(tensors: dict[str, Any], rows: int) -> dict[str, Any]:
    """The token embedding with more rows."""
    name = spelled(tensors, "embeddings.token_embedding.weight")
    dtype, (_, width), data = tensors[name]
    return {name: [dtype, [rows, width], (data * rows)[: 4 * rows * width]]}


@bad("own", "tokenizer-rewrite", 1)
def two_lists_of_merges_disagree(a: Arena) -> None:
    merges = json.loads(a.file(TOKENIZER).read_text())["model"]["merges"]
    split_files(a, [*merges[1:], merges[0]])


@bad("own", "tokenizer-rewrite", 1)
def merges_beside_a_whole_tokenizer(a: Arena) -> None:
    a.write("tokenizer/merges.txt", b"#version: 0.2\nc a\n")


@bad("own", "tokenizer-map")
def merge_of_an_unknown_part(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v["model"]["vocab"].pop("ca") and None)


@bad("own", "tokenizer-map")
def second_version_line_hides_a_merge(a: Arena) -> None:
    split_files(a)
    path = a.file("tokenizer/merges.txt")
    path.write_text(path.read_text() + "#version x\n")


@bad("own", "config-bound")
def merges_of_many_lines(a: Arena) -> None:
    split_files(a, [["a", "b"]] * 200_000)


@bad("own", "config-bound")
def merges_of_many_bytes(a: Arena) -> None:
    split_files(a, [["a" * 1000, "b" * 1000]] * 2000)


@bad("own", "config-bound")
def many_merges_in_one_file(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v["model"].update(merges=["a b"] * 200_000))


@bad("own", "config-bound")
def merges_of_long_halves(a: Arena) -> None:
    """Every token one letter longer than the one before, so that each merge is followed through all before
    it.
    """
    chains = [["a" * n, "a"] for n in range(1, 500)]
    chains += [[c + "a" * n, "a"] for c in "bcdefghijklmnopqr" for n in range(500)]
    edit_json(a.file(TOKENIZER), lambda v: v["model"].update(merges=chains))


def replacing(*steps: tuple[dict[str, str], str]) -> Callable[[Any], None]:
    """Adds replacements to the normalizer."""

    def change(v: Any) -> None:
        v["normalizer"]["normalizers"] += [{"type": "Replace", "pattern": p, "content": c} for p, c in steps]

    return change


_GROWING: dict[str, Callable[[Any], Any]] = {
    "by_one_step": replacing(({"String": " "}, "x" * 5_000)),
    "by_spaces": replacing(({"Regex": r"\s+"}, " " * 5_000)),
    "by_many_steps": replacing(*[({"String": "a"}, "aaa")] * 8),
    "in_front": lambda v: v["normalizer"]["normalizers"].append({"type": "Prepend", "prepend": "x" * 5_000}),
    "by_very_many_patterns": replacing(*[({"Regex": r"\s+"}, " ")] * 100),
    "when_filled_up": lambda v: v.update(
        padding={"strategy": {"Fixed": 10**9}, "pad_token": "!", "pad_id": 0}
    ),
    "when_cut": lambda v: v.update(truncation={"max_length": 10**12}),
}
for _name, _change in _GROWING.items():

    @bad("own", "config-bound", name=f"prompt_grows_{_name}")
    def growing(a: Arena, change: Callable[[Any], Any] = _change) -> None:
        generic(a)
        edit_json(a.file(TOKENIZER), change)


@bad("own", "tokenizer-regex")
def pattern_behind_many_others(a: Arena) -> None:
    generic(a)
    edit_json(a.file(TOKENIZER), replacing(({"Regex": "(a+)+$"}, ""), *[({"Regex": r"\s+"}, " ")] * 60))


@bad("own", "tokenizer-setting")
def special_map_holds_a_setting(a: Arena) -> None:
    a.write("tokenizer/special_tokens_map.json", b'{"vocab_file": "../../vocab.json"}')


@bad("own", "special-token", 1)
def special_map_holds_a_word(a: Arena) -> None:
    a.write("tokenizer/special_tokens_map.json", b'{"sep_token": "cat", "additional_special_tokens": []}')


@bad("57", "tokenizer-regex")
def catastrophic_pattern(a: Arena) -> None:
    generic(a)
    step = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}
    edit_json(a.file(TOKENIZER), lambda v: v["normalizer"]["normalizers"].append(step))


@bad("58", "token-range")
def id_beyond_the_table(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v["model"]["vocab"].update({"cat</w>": 10**6}))


@bad("58", "token-range")
def added_id_beyond_the_table(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v["added_tokens"].append({"id": 99_999, "content": "sks"}))


@bad("58", "token-range")
def id_beyond_the_table_with_a_decoy(a: Arena) -> None:
    """A further tensor that is called like the embedding and is large enough."""
    id_beyond_the_table(a)
    edit_tensors(
        a.file(TEXT),
        lambda t: t.update({"zz.token_embedding.weight": ["F16", [2 * 10**6, 1], bytes(4 * 10**6)]}),
    )


@bad("60", "json")
def tokenizer_is_broken(a: Arena) -> None:
    a.write(TOKENIZER, a.file(TOKENIZER).read_bytes()[:-5])


@bad("60", "config-bound")
def very_many_added_tokens(a: Arena) -> None:
    many = [{"id": 1, "content": f"t{i}"} for i in range(120_000)]
    edit_json(a.file(TOKENIZER), lambda v: v.update(added_tokens=many))


@bad("60", "tokenizer-map")
def two_tokens_share_an_id(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v["model"]["vocab"].update({"cat</w>": 7}))


@bad("60", "tokenizer-map")
def one_token_has_two_ids(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v["added_tokens"].append({"id": 3, "content": "cat</w>"}))


@bad("60", "duplicate-key")
def vocabulary_names_a_token_twice(a: Arena) -> None:
    text = a.file(TOKENIZER).read_text().replace('"cat</w>"', '"dog</w>"')
    a.write(TOKENIZER, text.encode())


for _name, _ids in {"floats": 1.5, "texts": "1", "negative": -1, "booleans": True}.items():

    @bad("own", "tokenizer-map", name=f"ids_are_{_name}")
    def odd_ids(a: Arena, value: Any = _ids) -> None:
        edit_json(a.file(TOKENIZER), lambda v: v["model"]["vocab"].update({"cat</w>": value}))


@bad("own", "tokenizer-map")
def merge_without_token(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v["model"]["merges"].append(["zz", "zz"]))


@bad("own", "tokenizer-map")
def merges_are_numbers(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v["model"].update(merges=[1, 2]))


@bad("own", "tokenizer-map")
def other_tokenizer_model(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v.update(model={"type": "WordLevel", "vocab": {"cat": 0}}))


@bad("own", "tokenizer-missing")
def no_vocabulary(a: Arena) -> None:
    a.file(TOKENIZER).unlink()


for _name, _text in {
    "word": "beautiful", "html": "<b>x</b>", "ansi": "\x1b[2J", "bidi": "a\u202eb", "zero_width": "c\u200bat",
    "formula": "=cmd|'/c'!A1",
    "homoglyph": "c\u0430t",
}.items():  # fmt: skip

    @bad("61" if _name == "word" else "66", "added-token", 1, name=f"added_token_{_name}")
    def added(a: Arena, text: str = _text) -> None:
        edit_json(
            a.file(TOKENIZER),
            lambda v: v["added_tokens"].append({"id": 256, "content": text, "special": False}),
        )
        edit_json(a.file(TOKENIZER), lambda v: v["model"]["vocab"].pop("!</w>") and None)


@bad("61", "added-token", 1)
def added_in_config(a: Arena) -> None:
    edit_json(a.file(TOKENIZER), lambda v: v["model"]["vocab"].pop("!</w>") and None)
    set_keys(a.file(KC), added_tokens_decoder={"4": {"content": "%"}, "256": {"content": "sks"}})


def lora(a: Arena, change: Any) -> None:
    source = a.built / "lora" / "pytorch_lora_weights.safetensors"
    tensors = load_tensors(source)
    change(tensors)
    a.source = a.arena / "lora.safetensors"
    a.source.write_bytes(pack(tensors))


@bad("62", "lora-keys", 1)
def lora_with_junk(a: Arena) -> None:
    lora(a, lambda t: t.update({"junk.weight": ["F32", [1], bytes(4)]}))


@bad("62", "lora-rank", 1)
def lora_rank_is_large(a: Arena) -> None:
    def change(t: dict[str, Any]) -> None:
        data = struct.pack("<400f", *range(400))
        t["unet.x.lora_A.weight"] = ["F32", [50, 8], data]
        t["unet.x.lora_B.weight"] = ["F32", [8, 50], data]

    lora(a, change)


for _name, _alpha in {
    "1e9": struct.pack("<f", 1e9),
    "nan": NAN,
    "negative": struct.pack("<f", -1.0),
    "zero": bytes(4),
}.items():

    @bad("62", "lora-alpha", name=f"lora_alpha_{_name}")
    def lora_alpha(a: Arena, alpha: bytes = _alpha) -> None:
        lora(a, lambda t: t.update({next(iter(t)).split(".lora")[0] + ".alpha": ["F32", [], alpha]}))


def lora_settings(a: Arena, **settings: Any) -> None:
    """The honest LoRA with peft settings in its metadata, as diffusers writes and reads them."""
    lora(a, lambda t: None)
    text = json.dumps({f"unet.{k}": v for k, v in {"r": 2, "lora_alpha": 2, **settings}.items()})
    a.source = Path(a.source)
    a.source.write_bytes(pack(load_tensors(a.source), {"lora_adapter_metadata": text}))


for _name, _rule, _settings in (
    ("alpha_zero", "lora-alpha", {"lora_alpha": 0}),
    ("alpha_infinite", "lora-alpha", {"lora_alpha": float("1e9")}),
    ("alpha_is_text", "lora-alpha", {"lora_alpha": "2"}),
    ("alpha_pattern_zero", "lora-alpha", {"alpha_pattern": {"to_k": 0.0}}),
    ("alpha_pattern_regex", "unsupported-option", {"alpha_pattern": {"(a+)+$": 2}}),
    ("targets_are_a_regex", "unsupported-option", {"target_modules": "(a+)+$"}),
    ("names_a_module", "unsupported-option", {"megatron_config": {"x": 1}, "megatron_core": "antigravity"}),
    ("changes_the_base", "unsupported-option", {"init_lora_weights": "pissa"}),
    ("saves_modules", "unsupported-option", {"modules_to_save": ["conv_in"]}),
):

    @bad("own", _rule, name=f"lora_metadata_{_name}")
    def lora_metadata(a: Arena, settings: dict[str, Any] = _settings) -> None:
        lora_settings(a, **settings)


@bad("own", "unsupported-option")
def lora_metadata_is_broken(a: Arena) -> None:
    lora(a, lambda t: None)
    a.source = Path(a.source)
    a.source.write_bytes(pack(load_tensors(a.source), {"lora_adapter_metadata": '{"unet.lora_alpha": NaN}'}))


for _name, _text in {"regex": "(a+)+$", "space": "a b", "ansi": "\x1b[2J", "letter": "\u0430"}.items():

    @bad("own", "lora-names", name=f"lora_names_{_name}")
    def lora_names(a: Arena, text: str = _text) -> None:
        lora(a, lambda t: t.update({n.replace("to_k", f"to_k{text}"): t.pop(n) for n in list(t)}))


@bad("own", "lora-pair")
def lora_half_twice(a: Arena) -> None:
    def change(t: dict[str, Any]) -> None:
        first = next(n for n in t if "lora_A" in n or "lora.down" in n)
        t[first.replace(".weight", ".default.weight")] = t[first]

    lora(a, change)


@bad("62", "lora-pair")
def lora_half_missing(a: Arena) -> None:
    lora(a, lambda t: t.pop(next(iter(t))))


@bad("62", "lora-pair")
def lora_halves_differ(a: Arena) -> None:
    lora(
        a,
        lambda t: t.update(
            {"u.lora_A.weight": ["F32", [2, 2], bytes(16)], "u.lora_B.weight": ["F32", [2, 3], bytes(24)]}
        ),
    )


@bad("62", "lora", 0)
def lora_for_another_base(a: Arena) -> None:
    def change(t: dict[str, Any]) -> None:
        t.clear()
        for half, shape in (("down", [1, 2048]), ("up", [4, 1])):
            name = f"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_{half}.weight"
            t[name] = [
                "F32",
                shape,
                struct.pack(f"<{shape[0] * shape[1]}f", *range(1, shape[0] * shape[1] + 1)),
            ]

    lora(a, change)


for _name, _tensor in {
    "hadamard": "x.hada_w1_a", "sd_single_file": "model.diffusion_model.out.2.bias",
    "sdxl_single_file": "conditioner.embedders.0.x",
    "nothing_known": "weight",
}.items():  # fmt: skip

    @bad("own", "unsupported-layout", name=f"single_{_name}")
    def single(a: Arena, tensor: str = _tensor) -> None:
        a.source = a.arena / "single.safetensors"
        a.source.write_bytes(pack({tensor: ["F32", [1], bytes(4)]}))


@bad("own", "lora-alpha")
def peft_config_without_rank(a: Arena) -> None:
    a.source = a.arena / "peft"
    a.source.mkdir()
    for f in (a.built / "peft").iterdir():
        (a.source / f.name).write_bytes(f.read_bytes())
    set_keys(a.source / "adapter_config.json", r=0)


def checkpoint(a: Arena, *names: str) -> None:
    """A file with the names of a whole checkpoint, and ``names``."""
    own = (
        "first_stage_model.decoder.conv_in.weight", "cond_stage_model.logit_scale",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "cond_stage_model.transformer.text_model.final_layer_norm.weight",
    )  # fmt: skip
    tensors = {n: ["F32", [2], struct.pack("<2f", 1, i)] for i, n in enumerate((*own, *names), start=2)}
    tensors |= {n: ["F32", [2], struct.pack("<2f", 0, 1)] for n in tensors if n.endswith("position_ids")}
    tensors |= {
        n: ["F32", [1000], struct.pack("<1000f", *buffers.schedule()[n])]
        for n in tensors.keys() & buffers.schedule().keys()
    }
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = [
        "F32",
        [1, 4, 1, 1],
        struct.pack("<4f", 1, 2, 3, 4),
    ]
    a.source = a.arena / "model.safetensors"
    a.source.write_bytes(pack(tensors))


for _name, _tensor in {
    "bare_names": "cond_stage_model.transformer.final_layer_norm.weight",
    "names_of_open_clip": "cond_stage_model.model.ln_final.weight",
    "second_autoencoder": "vae.decoder.conv_in.weight",
    "second_unet": "diffusion_model.out.2.bias",
    "encoder_of_other_programs": "text_encoders.clip_l.final_layer_norm.weight",
}.items():

    @bad("own", "double-weights", name=f"checkpoint_twice_{_name}")
    def checkpoint_twice(a: Arena, tensor: str = _tensor) -> None:
        checkpoint(a, tensor)


@bad("own", "single-file", 0)
def checkpoint_with_spare_tensors(a: Arena) -> None:
    checkpoint(
        a, "cond_stage_model.transformer.embeddings.position_ids", "cond_stage_model.text_projection",
        "betas", "alphas_cumprod",
        "cond_stage_model.transformer.text_projection.weight", "first_stage_model.loss.logvar",
    )  # fmt: skip


@bad("own", "unsupported-layout")
def checkpoint_with_a_lora(a: Arena) -> None:
    checkpoint(a, "lora_unet_x_attn2_to_k.lora_down.weight", "lora_unet_x_attn2_to_k.lora_up.weight")


def with_lengths(a: Arena, shape: list[int], layers: int | None = None) -> None:
    """The honest LoRA with DoRA's vectors of ``shape`` for the first ``layers``."""

    def change(t: dict[str, Any]) -> None:
        names = {re.split(r"\.lora_|\.lora\.", n)[0] for n in t}
        for n in sorted(names)[:layers]:
            t[n + ".lora_magnitude_vector"] = [
                "F32",
                shape,
                struct.pack(f"<{prod(shape)}f", *range(1, prod(shape) + 1)),
            ]

    lora(a, change)


@bad("own", "lora-pair")
def dora_lengths_do_not_fit(a: Arena) -> None:
    with_lengths(a, [3])


@bad("own", "lora-pair")
def dora_length_is_a_matrix(a: Arena) -> None:
    with_lengths(a, [4, 4])


@bad("own", "lora-pair")
def half_a_dora(a: Arena) -> None:
    with_lengths(a, [8], 1)


@bad("own", "adapter-kind")
def dora_scale_is_left_out_by_diffusers(a: Arena) -> None:
    def change(t: dict[str, Any]) -> None:
        layer = re.split(r"\.lora_|\.lora\.", min(t))[0]
        t[layer + ".dora_scale"] = ["F32", [8], struct.pack("<8f", *range(1, 9))]

    lora(a, change)


for _name in ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"):

    @bad("own", "config-value", name=f"passes_over_its_own_values_{_name.split('/')[0]}")
    def passes_over_its_own_values(a: Arena, file: str = _name) -> None:
        set_keys(a.file(file), _use_default_values=["norm_eps", "scaling_factor", "prediction_type"])


@bad("own", "unsupported-option")
def pipeline_masks_the_padding(a: Arena) -> None:
    """The pipeline asks the text encoder's config for it, whose class does not know the key."""
    set_keys(a.file("text_encoder/config.json"), use_attention_mask=True)
