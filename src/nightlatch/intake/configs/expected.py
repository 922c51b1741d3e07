"""The tensor names and shapes that a config promises, in plain arithmetic: no class is ever instantiated.

Follows diffusers' UNet2DConditionModel and AutoencoderKL and transformers' CLIPTextModel. Everything is a
generator, so that a config that promises a million layers costs no more than one that promises two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nightlatch.intake.configs.fields import Fields

Named = tuple[str, tuple[int, ...]]


def unet(c: Fields) -> Iterator[Named]:
    """UNet2DConditionModel with the block types of Stable Diffusion 1 and 2."""
    widths = c.whole_list("block_out_channels", [320, 640, 1280, 1280])
    n = len(widths)
    layers = c.per_block("layers_per_block", 2, n)
    depths = c.per_block("transformer_layers_per_block", 1, n)
    contexts = c.per_block("cross_attention_dim", 1280, n)
    down = c.names("down_block_types", ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), n)
    up = c.names("up_block_types", ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, n)
    linear = c.flag("use_linear_projection", False)
    time = c.whole("time_embedding_dim", 4 * widths[0])
    k_in, k_out = c.whole("conv_in_kernel", 3), c.whole("conv_out_kernel", 3)

    yield from _conv("conv_in", c.whole("in_channels", 4), widths[0], k_in)
    yield from _linear("time_embedding.linear_1", widths[0], time)
    yield from _linear("time_embedding.linear_2", time, time)
    if condition := c.optional_whole("time_cond_proj_dim"):
        yield "time_embedding.cond_proj.weight", (widths[0], condition)
    for i, width in enumerate(widths):
        block = f"down_blocks.{i}"
        for j in range(layers[i]):
            yield from _resnet(
                f"{block}.resnets.{j}", widths[max(i - 1, 0)] if j == 0 else width, width, time
            )
            if down[i].startswith("Cross"):
                yield from _transformer(f"{block}.attentions.{j}", width, contexts[i], depths[i], linear)
        if i < n - 1:
            yield from _conv(f"{block}.downsamplers.0.conv", width, width)
    for j in range(2):
        yield from _resnet(f"mid_block.resnets.{j}", widths[-1], widths[-1], time)
    yield from _transformer("mid_block.attentions.0", widths[-1], contexts[-1], depths[-1], linear)
    below = widths[-1]
    for i, width in enumerate(reversed(widths)):
        skip = widths[max(n - 2 - i, 0)]
        for j in range(layers[n - 1 - i] + 1):
            name = f"up_blocks.{i}.resnets.{j}"
            yield from _resnet(
                name, (below if j == 0 else width) + (skip if j == layers[n - 1 - i] else width), width, time
            )
            if up[i].startswith("Cross"):
                yield from _transformer(
                    f"up_blocks.{i}.attentions.{j}", width, contexts[n - 1 - i], depths[n - 1 - i], linear
                )
        if i < n - 1:
            yield from _conv(f"up_blocks.{i}.upsamplers.0.conv", width, width)
        below = width
    if not c.is_null("norm_num_groups"):
        yield from _norm("conv_norm_out", widths[0])
    yield from _conv("conv_out", widths[0], c.whole("out_channels", 4), k_out)


def vae(c: Fields) -> Iterator[Named]:
    """AutoencoderKL with plain encoder and decoder blocks."""
    widths = c.whole_list("block_out_channels", [64])
    layers, latent = c.whole("layers_per_block", 1), c.whole("latent_channels", 4)
    attention = c.flag("mid_block_add_attention", True)
    yield from _conv("encoder.conv_in", c.whole("in_channels", 3), widths[0])
    for i, width in enumerate(widths):
        for j in range(layers):
            yield from _resnet(
                f"encoder.down_blocks.{i}.resnets.{j}", widths[max(i - 1, 0)] if j == 0 else width, width
            )
        if i < len(widths) - 1:
            yield from _conv(f"encoder.down_blocks.{i}.downsamplers.0.conv", width, width)
    yield from _vae_ends("encoder", widths[-1], widths[-1], 2 * latent, attention)
    yield from _conv("decoder.conv_in", latent, widths[-1])
    below = widths[-1]
    for i, width in enumerate(reversed(widths)):
        for j in range(layers + 1):
            yield from _resnet(f"decoder.up_blocks.{i}.resnets.{j}", below if j == 0 else width, width)
        if i < len(widths) - 1:
            yield from _conv(f"decoder.up_blocks.{i}.upsamplers.0.conv", width, width)
        below = width
    yield from _vae_ends("decoder", widths[-1], widths[0], c.whole("out_channels", 3), attention)
    if c.flag("use_quant_conv", True):
        yield from _conv("quant_conv", 2 * latent, 2 * latent, 1)
    if c.flag("use_post_quant_conv", True):
        yield from _conv("post_quant_conv", latent, latent, 1)


def clip_text(c: Fields) -> Iterator[Named]:
    """CLIPTextModel; names without the prefix 'text_model.' that older files carry."""
    width, inner = c.whole("hidden_size", 512), c.whole("intermediate_size", 2048)
    yield "embeddings.token_embedding.weight", (c.whole("vocab_size", 49408), width)
    yield "embeddings.position_embedding.weight", (c.whole("max_position_embeddings", 77), width)
    for i in range(c.whole("num_hidden_layers", 12)):
        layer = f"encoder.layers.{i}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from _linear(f"{layer}.self_attn.{part}", width, width)
        yield from _norm(f"{layer}.layer_norm1", width)
        yield from _linear(f"{layer}.mlp.fc1", width, inner)
        yield from _linear(f"{layer}.mlp.fc2", inner, width)
        yield from _norm(f"{layer}.layer_norm2", width)
    yield from _norm("final_layer_norm", width)


PROMISES: dict[str, Callable[[Fields], Iterator[Named]]] = {
    "UNet2DConditionModel": unet,
    "AutoencoderKL": vae,
    "CLIPTextModel": clip_text,
}


def _conv(name: str, inputs: int, outputs: int, kernel: int = 3) -> Sequence[Named]:
    return (f"{name}.weight", (outputs, inputs, kernel, kernel)), (f"{name}.bias", (outputs,))


def _linear(name: str, inputs: int, outputs: int) -> Sequence[Named]:
    return (f"{name}.weight", (outputs, inputs)), (f"{name}.bias", (outputs,))


def _norm(name: str, width: int) -> Sequence[Named]:
    return (f"{name}.weight", (width,)), (f"{name}.bias", (width,))


def _resnet(name: str, inputs: int, outputs: int, time: int = 0) -> Iterator[Named]:
    """ResnetBlock2D; ``time`` 0 in the autoencoder, which has no time embedding."""
    yield from _norm(f"{name}.norm1", inputs)
    yield from _conv(f"{name}.conv1", inputs, outputs)
    if time:
        yield from _linear(f"{name}.time_emb_proj", time, outputs)
    yield from _norm(f"{name}.norm2", outputs)
    yield from _conv(f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        yield from _conv(f"{name}.conv_shortcut", inputs, outputs, 1)


def _transformer(name: str, width: int, context: int, depth: int, linear: bool) -> Iterator[Named]:
    """Transformer2DModel: ``depth`` blocks of self-attention, cross-attention and a gated feed-forward."""
    project = _linear if linear else _conv1
    yield from _norm(f"{name}.norm", width)
    yield from project(f"{name}.proj_in", width, width)
    for i in range(depth):
        block = f"{name}.transformer_blocks.{i}"
        for norm in ("norm1", "norm2", "norm3"):
            yield from _norm(f"{block}.{norm}", width)
        for attention, source in (("attn1", width), ("attn2", context)):
            yield f"{block}.{attention}.to_q.weight", (width, width)
            yield f"{block}.{attention}.to_k.weight", (width, source)
            yield f"{block}.{attention}.to_v.weight", (width, source)
            yield from _linear(f"{block}.{attention}.to_out.0", width, width)
        yield from _linear(f"{block}.ff.net.0.proj", width, 8 * width)
        yield from _linear(f"{block}.ff.net.2", 4 * width, width)
    yield from project(f"{name}.proj_out", width, width)


def _conv1(name: str, inputs: int, outputs: int) -> Sequence[Named]:
    return _conv(name, inputs, outputs, 1)


def _vae_ends(side: str, middle: int, width: int, outputs: int, attention: bool) -> Iterator[Named]:
    """Middle block, last norm and last convolution of the encoder or the decoder."""
    for j in range(2):
        yield from _resnet(f"{side}.mid_block.resnets.{j}", middle, middle)
    if attention:
        yield from _norm(f"{side}.mid_block.attentions.0.group_norm", middle)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from _linear(f"{side}.mid_block.attentions.0.{part}", middle, middle)
    yield from _norm(f"{side}.conv_norm_out", width)
    yield from _conv(f"{side}.conv_out", width, outputs)
