"""The allow-list: which pipeline, which component classes in which slot, which of their files are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field

SCHEDULERS = frozenset({
    "DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler",
    "DPMSolverSDEScheduler",
    "EDMEulerScheduler", "DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler", "LCMScheduler",
    "TCDScheduler",
    "SASolverScheduler", "IPNDMScheduler", "DDIMParallelScheduler", "DDPMParallelScheduler",
    "CosineDPMSolverMultistepScheduler",
    "EDMDPMSolverMultistepScheduler",
})  # fmt: skip
"""Schedulers that a Stable Diffusion pipeline draws with."""
OTHER_SCHEDULERS = frozenset({
    "AmusedScheduler", "BlockRefinementScheduler", "CMStochasticIterativeScheduler",
    "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler",
    "DDPMWuerstchenScheduler", "DiscreteDDIMScheduler", "EntropyBoundScheduler",
    "FlowMapEulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler",
    "HeliosDMDScheduler",
    "HeliosScheduler", "KarrasVeScheduler", "LTXEulerAncestralRFScheduler", "RePaintScheduler",
    "SCMScheduler", "ScoreSdeVeScheduler",
    "UnCLIPScheduler", "VQDiffusionScheduler",
})  # fmt: skip
"""diffusers' schedulers for other models: nothing is wrong with them, and none of them draws with a UNet of
Stable Diffusion.
"""
FAST_TOKENIZERS = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
STANDARD_TOKENIZERS = frozenset({"CLIPTokenizer", "CLIPTokenizerFast"})


@dataclass(frozen=True, slots=True)
class Slot:
    """One component: which library and classes it may name, and the stem of its weight files ('' without
    weights).
    """

    library: str
    classes: frozenset[str]
    stem: str = ""
    config: str = "config.json"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline class: components that must be there, that may be and are not staged, and plain options."""

    name: str
    slots: dict[str, Slot]
    optional: dict[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    options: frozenset[str] = frozenset()


_DIFFUSERS_STEM, _TRANSFORMERS_STEM = "diffusion_pytorch_model", "model"

STABLE_DIFFUSION = Pipeline(
    "StableDiffusionPipeline",
    slots={
        "unet": Slot("diffusers", frozenset({"UNet2DConditionModel"}), _DIFFUSERS_STEM),
        "vae": Slot("diffusers", frozenset({"AutoencoderKL"}), _DIFFUSERS_STEM),
        "text_encoder": Slot("transformers", frozenset({"CLIPTextModel"}), _TRANSFORMERS_STEM),
        "tokenizer": Slot("transformers", STANDARD_TOKENIZERS | FAST_TOKENIZERS, config="tokenizer_config.json"),
        "scheduler": Slot("diffusers", SCHEDULERS, config="scheduler_config.json"),
    },
    optional={
        "safety_checker": frozenset({
            ("stable_diffusion", "StableDiffusionSafetyChecker"),
            ("diffusers.pipelines.stable_diffusion.safety_checker", "StableDiffusionSafetyChecker"),
        }),
        "feature_extractor": frozenset({
            ("transformers", "CLIPImageProcessor"), ("transformers", "CLIPFeatureExtractor"),
            ("transformers", "CLIPImageProcessorFast"), ("transformers", "CLIPImageProcessorPil"),
        }),
        "image_encoder": frozenset({("transformers", "CLIPVisionModelWithProjection")}),
    },
    options=frozenset({"requires_safety_checker", "force_zeros_for_empty_prompt"}),
)  # fmt: skip

SUPPORTED: dict[str, Pipeline] = {STABLE_DIFFUSION.name: STABLE_DIFFUSION}

_FAMILIES: tuple[tuple[str, str], ...] = (
    ("Onnx", "Stable Diffusion in ONNX form"), ("ORT", "models in ONNX form"),
    ("Flax", "Stable Diffusion in Flax form"),
    ("OV", "models in OpenVINO form"),
    ("StableDiffusionXLInpaint", "Stable Diffusion XL for inpainting"),
    ("StableDiffusionXLControlNet", "Stable Diffusion XL with a ControlNet"),
    ("StableDiffusionXLInstructPix2Pix", "Stable Diffusion XL instruct-pix2pix"),
    ("StableDiffusionXL", "Stable Diffusion XL"),
    ("StableDiffusion3", "Stable Diffusion 3"), ("StableDiffusionInpaint", "Stable Diffusion for inpainting"),
    ("StableDiffusionInstructPix2Pix", "Stable Diffusion instruct-pix2pix"),
    ("StableDiffusionDepth2Img", "depth-guided Stable Diffusion"),
    ("StableDiffusionUpscale", "the 4x upscaler of Stable Diffusion"),
    ("StableDiffusionLatentUpscale", "the latent upscaler of Stable Diffusion"),
    ("StableDiffusionControlNet", "Stable Diffusion with a ControlNet"),
    ("StableDiffusionAdapter", "Stable Diffusion with a T2I-Adapter"),
    ("StableDiffusionImageVariation", "Stable Diffusion image variations"),
    ("StableDiffusionImg2Img", "Stable Diffusion from picture to picture"),
    ("StableUnCLIP", "Stable unCLIP"), ("UnCLIP", "unCLIP"), ("Flux2", "Flux.2"), ("Flux", "Flux"),
    ("PixArt", "PixArt"), ("Sana", "Sana"),
    ("HunyuanDiT", "Hunyuan-DiT"), ("HunyuanVideo", "HunyuanVideo"), ("Kandinsky", "Kandinsky"),
    ("Wuerstchen", "Wuerstchen"),
    ("StableCascade", "Stable Cascade"), ("AuraFlow", "AuraFlow"), ("Lumina", "Lumina"),
    ("QwenImage", "Qwen-Image"), ("HiDream", "HiDream"),
    ("Chroma", "Chroma"), ("CogVideo", "CogVideoX"), ("CogView", "CogView"), ("Kolors", "Kolors"),
    ("OmniGen", "OmniGen"), ("ZImage", "Z-Image"),
    ("LatentConsistencyModel", "latent consistency models"), ("IF", "DeepFloyd IF"),
    ("AltDiffusion", "AltDiffusion"),
    ("StableVideoDiffusion", "Stable Video Diffusion"), ("AnimateDiff", "AnimateDiff"), ("Wan", "Wan"),
    ("LTX", "LTX-Video"), ("Mochi", "Mochi"),
    ("Cosmos", "Cosmos"), ("Allegro", "Allegro"), ("Bria", "Bria"), ("DDPM", "pixel diffusion without text"),
    ("DDIM", "pixel diffusion without text"),
    ("LDMTextToImage", "latent diffusion of 2022"), ("VersatileDiffusion", "Versatile Diffusion"),
    ("PaintByExample", "Paint by Example"),
    ("SemanticStableDiffusion", "Stable Diffusion with semantic guidance"),
    ("StableDiffusion", "a variant of Stable Diffusion"),
)  # fmt: skip
"""What a pipeline class is for, by how its name begins; the most specific first."""


def family(class_name: str) -> str:
    """The model family behind a pipeline class that is known and not supported; '' when nothing is known
    about it.
    """
    if (
        not class_name.isidentifier()
        or not class_name.endswith(("Pipeline", "PipelineLegacy"))
        or len(class_name) > 80
    ):
        return ""
    return next((words for prefix, words in _FAMILIES if class_name.startswith(prefix)), "")
