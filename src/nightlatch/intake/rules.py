"""Every rule of the gate: its id, how severe it is, one sentence, and what to do. Docs and SARIF list this
table.
"""

from __future__ import annotations

from typing import NamedTuple

from nightlatch.records import Severity


class Rule(NamedTuple):
    """``severity`` error: refused (exit 2); warning: a finding (exit 1); note: worth knowing (exit code
    unchanged, but see ``UNTOLD``).

    ``remedy``: what to do; commands stand between single quotes and work as they stand.
    """

    severity: Severity
    description: str
    remedy: str


_SAFE = "Ask the author for safetensors, or convert a copy in an isolated machine."
_BROKEN = "Download the file again and compare its hash with the one the author published."
_HAND = (
    "Compare the file with the one of the model it was derived from; do not load the model until it is "
    "explained."
)
_DROP = "Delete it before anything else loads the folder; it is not staged here."
_LATER = (
    "Its files were checked; 'nightlatch scan' loads Stable Diffusion 1.x and 2.x, and adapters for them."
)

UNTOLD = frozenset({
    "unsupported-pipeline", "unsupported-layout", "unsupported-option", "adapter-kind", "no-autoencoder"
})  # fmt: skip
"""Notes that blame nobody and leave the question open: exit 2, 'not scanned'."""
LOADED = frozenset({"adapter-kind", "no-autoencoder"})
"""Those of them that are staged all the same: scan merges an adapter by the definition of its kind, and takes what a
checkpoint lacks from the base.
"""

RULES: dict[str, Rule] = {
    # the source and its files
    "not-found": Rule(
        "error", "The source does not exist here.", "Give a folder, a file, or a hub name like org/name."
    ),
    "unreadable": Rule("error", "A file or folder cannot be read.", "Check the permissions and the disk."),
    "source-changed": Rule(
        "error", "The source changed while it was read.", "Stop what writes to it and run again."
    ),
    "special-file": Rule(
        "error", "A FIFO, socket, device or folder in place of a file.", "Delete it; no model needs it."
    ),
    "link-outside": Rule(
        "error", "A link leads out of the source.", "Replace it by the file itself, if you trust it."
    ),
    "link-inside": Rule(
        "warning", "A link to another file of the source is not followed.", "Replace it by the file."
    ),
    "inventory-limit": Rule(
        "error", "More, deeper or longer-named files than are read.", "Keep only the model's files."
    ),
    "ambiguous-name": Rule("warning", "Two names differ only in case or Unicode form.", "Keep one of them."),
    "odd-name": Rule("warning", "A file name holds invisible or markup characters.", _DROP),
    "hub-commit": Rule("note", "The hub name was resolved to this commit, once.", ""),
    "hub-cache": Rule(
        "note", "The hub was not asked, and the cached files were used.", "Run again while online."
    ),
    "local-first": Rule(
        "note", "A folder of that name is here and was taken.", "Write './' in front of a path to be clear."
    ),
    "not-fetched": Rule(
        "note", "Files of the hub repository that loading does not need were not fetched.", ""
    ),
    "not-staged": Rule("note", "Files that loading does not need are not staged.", ""),
    "not-entered": Rule("note", "A folder of a version-control or download tool is not looked into.", ""),
    "pickle-weights": Rule("error", "The weights are a pickle, and loading a pickle can run code.", _SAFE),
    "unused-pickle": Rule("warning", "A pickle lies beside the weights.", _DROP),
    "archive-weights": Rule("error", "The weights are packed in an archive.", _SAFE),
    "unused-archive": Rule("warning", "An archive lies beside the weights.", _DROP),
    "not-safetensors": Rule("error", "A file named .safetensors holds something else.", _BROKEN),
    "lfs-pointer": Rule(
        "error",
        "A Git-LFS pointer stands in place of the file.",
        "Fetch the file itself with 'git lfs pull'.",
    ),
    "neighbour": Rule(
        "warning",
        "A file of the same name is loaded with it.",
        "Rename it, or scan what you draw with as a pipeline.",
    ),
    "settings-beside": Rule(
        "note", "Settings of the original training code lie beside it; web interfaces read them.", ""
    ),
    "unread-tensor": Rule(
        "error", "A tensor that is passed over here, and that other programs read, holds other values.", _HAND
    ),
    "rounded-positions": Rule(
        "warning",
        "Position ids were rounded when the file was merged.",
        "Take the author's original, or remove the tensor.",
    ),
    "prediction": Rule(
        "warning",
        "A mark makes some programs read the predictions as v.",
        "Name a v-prediction model with --base.",
    ),
    "polyglot": Rule("warning", "A safetensors file also reads as a zip archive.", _HAND),
    "missing-weights": Rule("error", "A component has no safetensors weights.", _SAFE),
    "unused-code": Rule("warning", "A program lies beside the model; it is not needed to load it.", _DROP),
    "other-format": Rule(
        "note", "Weights in a format that is neither loaded nor scanned.", "Scan what you load."
    ),
    "extra-weights": Rule(
        "warning", "Further weights that are a subject of their own.", "Scan that file as well, or delete it."
    ),
    "safety-checker": Rule(
        "note", "The optional safety checker or image encoder is not staged.", "Take it from its author."
    ),
    "internal": Rule(
        "error", "A rule failed on this source, so it was not judged.", "Report it, with the file if you may."
    ),
    # what is loaded, and code paths
    "index": Rule("error", "model_index.json does not describe a pipeline that can be loaded.", _HAND),
    "unsupported-pipeline": Rule("note", "A pipeline that scan cannot load yet.", _LATER),
    "unsupported-layout": Rule("note", "A file of a kind that scan cannot load.", _LATER),
    "no-autoencoder": Rule(
        "note",
        "A checkpoint without an autoencoder (VAE), which programs take from elsewhere.",
        "Scan it with the base's: 'nightlatch scan FILE --base MODEL'.",
    ),
    "adapter-kind": Rule(
        "note",
        "An adapter that is no plain LoRA.",
        "Scan it on its base: 'nightlatch scan FILE --base MODEL'.",
    ),
    "unsupported-option": Rule("note", "An option that scan cannot follow yet.", _LATER),
    "unknown-library": Rule(
        "error", "A component comes from a module that is not known.", "Do not load this model anywhere."
    ),
    "custom-code": Rule(
        "error", "The model asks for its own code to be run.", "Do not load this model anywhere."
    ),
    "auto-map": Rule(
        "warning",
        "A config names code for 'trust_remote_code'.",
        "Never load this model with trust_remote_code.",
    ),
    "kernel-field": Rule(
        "error", "A config names a repository of compiled kernels to run.", "Do not load this model anywhere."
    ),
    "template": Rule("note", "A template that programs may render is not staged.", ""),
    "quantised": Rule(
        "error", "The weights are quantised for another package.", "Scan the model it was made from."
    ),
    "hidden-adapter": Rule(
        "warning",
        "An adapter in a component folder is applied silently.",
        "Delete it, or merge it; then scan.",
    ),
    "adapter-module": Rule(
        "error", "An adapter's config names a module to import.", "Do not load this adapter anywhere."
    ),
    "connected-pipeline": Rule(
        "warning", "The card names another model to download.", "Scan that model as well."
    ),
    "single-file": Rule(
        "note",
        "A whole checkpoint in one file, without configs and tokenizer.",
        "Name the model it derives from with --base.",
    ),
    # which weights
    "shard-path": Rule("error", "A shard index leads to another folder.", "Do not load this model anywhere."),
    "shard-index": Rule("error", "A shard index and its shards disagree.", _BROKEN),
    "ambiguous-weights": Rule(
        "warning", "Two sets of weights for one component; loaders differ.", "Keep one of them."
    ),
    "double-weights": Rule(
        "error", "A single file holds a component twice; programs load different ones.", _HAND
    ),
    "second-variant": Rule(
        "warning", "A second variant of the weights may hold other values.", "Scan it as a model of its own."
    ),
    "variant-used": Rule("note", "Only a named variant of the weights exists; it is used.", ""),
    # safetensors headers
    "header": Rule("error", "The safetensors header is broken or the file is cut.", _BROKEN),
    "header-size": Rule("error", "The safetensors header is longer than is read.", _HAND),
    "duplicate-key": Rule("error", "A name occurs twice, so two readers may see two values.", _HAND),
    "offsets": Rule("error", "Tensors overlap, leave gaps or do not end with the file.", _HAND),
    "unknown-dtype": Rule("error", "A tensor has a type that safetensors does not know.", _HAND),
    "shape": Rule("error", "A tensor's shape does not fit its bytes.", _HAND),
    "metadata": Rule("error", "The safetensors metadata is not a table of texts.", _HAND),
    "metadata-text": Rule(
        "note",
        "The metadata holds characters that steer a terminal or turn text around; it is shown escaped.",
        "",
    ),
    "tensor-count": Rule("error", "More tensors than are read.", _HAND),
    # values
    "dtype": Rule("warning", "A tensor is not of a floating-point type that the model uses.", _HAND),
    "rounded-weights": Rule("note", "The weights are rounded to 8 bits.", ""),
    "non-finite": Rule("error", "A tensor holds NaN or infinity.", "Take the author's original."),
    "range": Rule("warning", "A value overflows half precision.", "Load the model in 32-bit precision."),
    "degenerate": Rule("error", "A component is constant: there is nothing to judge.", _BROKEN),
    "constant-tensor": Rule("note", "Some weight matrices are constant.", ""),
    "values-scanned": Rule("note", "The values were read.", ""),
    # configs against weights
    "json": Rule("error", "A JSON file cannot be read.", _BROKEN),
    "config-missing": Rule("error", "A component has no config.", _BROKEN),
    "config-value": Rule("error", "A config value makes no sense.", _HAND),
    "config-bound": Rule("error", "A config value asks for more than any real model needs.", _HAND),
    "config-exceeds-weights": Rule("error", "The config promises more than the weights hold.", _HAND),
    "unknown-key": Rule("note", "Config keys that the class does not have are not staged.", ""),
    "missing-keys": Rule("error", "A tensor is missing and would be filled with random values.", _BROKEN),
    "extra-keys": Rule("warning", "The weights hold tensors that the config does not ask for.", _HAND),
    "shape-mismatch": Rule("error", "A tensor has another shape than the config asks for.", _HAND),
    "component-mismatch": Rule("error", "Two components do not fit each other.", _HAND),
    # tokenizer
    "tokenizer-missing": Rule("error", "The tokenizer's vocabulary is missing.", _BROKEN),
    "tokenizer-rewrite": Rule(
        "warning", "The tokenizer changes prompts as CLIP's does not.", "Use CLIP's own tokenizer; scan."
    ),
    "tokenizer-regex": Rule(
        "error", "The tokenizer holds a pattern that may run for ever.", "Use CLIP's own tokenizer."
    ),
    "tokenizer-setting": Rule(
        "error",
        "The tokenizer's settings hold a key whose effect is not known.",
        "Remove the key, or use CLIP's own tokenizer.",
    ),
    "tokenizer-map": Rule("error", "The tokenizer's map from text to ids is not one to one.", _HAND),
    "token-range": Rule("error", "A token id lies beyond the embedding table.", _HAND),
    "added-token": Rule(
        "warning", "The tokenizer has a token of its own, as triggers do.", "Scan: it is tried first."
    ),
    "other-padding": Rule("note", "Two files name two of the usual paddings.", ""),
    "special-token": Rule(
        "warning", "A special token is ordinary text, or another one's.", "Use CLIP's own tokenizer; scan."
    ),
    # LoRA
    "lora": Rule("note", "The file is a LoRA.", "Scan it on its base with --base."),
    "lora-strength": Rule("note", "Programs differ in how strongly they apply the LoRA.", ""),
    "lora-strengths": Rule(
        "warning",
        "A LoRA's strength depends on who reads it.",
        "Ask the author for a file with its alpha as tensors.",
    ),
    "lora-keys": Rule("warning", "The LoRA holds tensors that belong to no layer pair.", _HAND),
    "lora-names": Rule(
        "error", "A LoRA's tensor names hold other characters than letters, digits, '_' and '.'.", _HAND
    ),
    "lora-pair": Rule("error", "A LoRA pair is incomplete or does not fit together.", _BROKEN),
    "lora-rank": Rule("warning", "A LoRA's rank is larger than its layer.", _HAND),
    "lora-alpha": Rule("error", "A LoRA's alpha is not a sane scale.", _HAND),
}
