"""The weights of a decoder as plain tensors: from a loaded model, or straight from safetensors files.

Decoding needs no module, no config class and no adapter library: `read` gives what `load.load_model` gives,
to the bit, without importing transformers and peft, which take longer than the weights. Written for Llama
and Gemma 3 (text); `of_model` and `read` return None for what they do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from giellm_utils.core.files import read_json
from giellm_utils.models.packaged import PACKAGED
from giellm_utils.models.processor import fast_in_bf16
from giellm_utils.models.products import WideLinear
from giellm_utils.models.spec import ModelConfig, SCRATCH

#: Linear modules that compute x W^T and nothing else.
PLAIN = (torch.nn.Linear, WideLinear)
#: Model types whose layers are known here.
KNOWN = ("llama", "gemma3_text")
#: Names below a layer: norms before and after attention, before and after the feed-forward part, of queries
#: and of keys.
NORMS = {
    "llama": ("input_layernorm", None, "post_attention_layernorm", None, None, None),
    "gemma3_text": ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                    "post_feedforward_layernorm", "self_attn.q_norm", "self_attn.k_norm")}
_LINEAR = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
           "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
#: Settings of an adapter that change more than W + scale * B A.
_OTHER_ADAPTERS = ("use_dora", "use_qalora", "use_bdlora", "rank_pattern", "alpha_pattern", "modules_to_save",
                   "fan_in_fan_out", "trainable_token_indices", "layer_replication", "target_parameters",
                   "lora_bias", "alora_invocation_tokens")

ACTIVATIONS = {"silu": functional.silu, "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh")}
GetTensor = Callable[[str], torch.Tensor]


def dtype_for(spec: ModelConfig, *, full: bool = False) -> torch.dtype:
    """bfloat16 where that is fast here, else float32 (auto); or as the spec says.

    Packaged models are in bfloat16 on every CPU, one arithmetic on all: their products are fast where bf16 is
    not, too (models.products). `full`: of a training of every weight, whose fp32 weights autocast would copy
    to bf16: worth it where that is fast alone.
    """
    if spec.dtype != "auto":
        return getattr(torch, spec.dtype)
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if spec.id in SCRATCH:
        return torch.float32
    fast = (spec.id in PACKAGED and not full) or fast_in_bf16()
    return torch.bfloat16 if fast else torch.float32


def dtype_name(spec: ModelConfig, *, full: bool = False) -> str:
    """dtype_for without "torch.", as it is written in results."""
    return str(dtype_for(spec, full=full)).removeprefix("torch.")


@dataclass(frozen=True)
class Shape:
    """What the arithmetic depends on besides tensors. `kinds`: of attention, by layer; `thetas`: the base of
    the rotation, by kind; `window`: tokens that sliding attention sees; `context`: most positions."""

    heads: int
    shared: int
    size: int
    eps: float
    scaling: float
    gemma: bool
    activation: str
    kinds: tuple[str, ...]
    thetas: Mapping[str, float]
    window: int | None
    context: int


@dataclass(frozen=True)
class Layer:
    """`linear`: q, k, v, o, gate, up, down [out, in]; `norms`: before and after attention, before and after
    the feed-forward part, of queries and of keys, None where the model has none."""

    linear: tuple[torch.Tensor, ...]
    norms: tuple[torch.Tensor | None, ...]


@dataclass(frozen=True)
class Weights:
    """A causal language model. `embedding` [V, H]; `head`: its whole output layer."""

    shape: Shape
    embedding: torch.Tensor
    layers: tuple[Layer, ...]
    norm: torch.Tensor
    head: torch.nn.Linear

    def get_output_embeddings(self) -> torch.nn.Linear:
        """The output layer, as transformers names it."""
        return self.head


# -- from a loaded model ---------------------------------------------------------------------------


def of_model(model: Any) -> Weights | None:
    """The tensors (shared, not copied) of a transformers model; None for one that is not plain: another
    type, LoRA not merged, quantised, with biases, hooks or offloaded weights."""
    shape = shape_of(model.config.to_dict())
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    if shape is None or type(head) not in PLAIN:
        return None
    if any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in decoder.modules()):
        return None
    linear = [block.get_submodule(name) for block in decoder.layers for name in _LINEAR]
    if any(type(m) not in PLAIN or m.bias is not None for m in linear):
        return None
    tensors = dict(decoder.named_parameters())
    if len({(p.device, p.is_floating_point()) for p in (*tensors.values(), head.weight)}) > 1:
        return None
    return _assemble(shape, lambda name: tensors[name].detach(), head)


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The Shape that a config.json describes; None where anything in it is not known here."""
    kind, act = config.get("model_type"), config.get("hidden_activation") or config.get("hidden_act")
    if (kind not in KNOWN or act not in ACTIVATIONS or config.get("attention_bias")
            or config.get("mlp_bias") or config.get("attn_logit_softcapping")
            or config.get("use_bidirectional_attention") or config.get("quantization_config")):
        return None
    try:
        layers, heads, gemma = config["num_hidden_layers"], config["num_attention_heads"], kind != "llama"
        size = config.get("head_dim") or config["hidden_size"] // heads
        kinds = tuple(config["layer_types"]) if gemma else ("full_attention",) * layers
        ropes = config["rope_parameters"] if gemma else {"full_attention": config["rope_parameters"]}
        if any(ropes[k].get("rope_type") != "default" for k in set(kinds)):
            return None
        return Shape(
            heads, config["num_key_value_heads"], size, config["rms_norm_eps"],
            float(config["query_pre_attn_scalar"] if gemma else size) ** -0.5, gemma, act, kinds,
            {k: float(ropes[k]["rope_theta"]) for k in set(kinds)},
            config["sliding_window"] if "sliding_attention" in kinds else None,
            config["max_position_embeddings"])
    except (KeyError, TypeError):
        return None


def _assemble(shape: Shape, get: GetTensor, head: torch.nn.Linear) -> Weights:
    """`get`: tensors by the names they have below the decoder."""
    norms = NORMS["gemma3_text" if shape.gemma else "llama"]
    layers = tuple(
        Layer(tuple(get(f"layers.{i}.{name}.weight") for name in _LINEAR),
              tuple(name and get(f"layers.{i}.{name}.weight") for name in norms))
        for i in range(len(shape.kinds)))
    return Weights(shape, get("embed_tokens.weight"), layers, get("norm.weight"), head)


# -- from files ------------------------------------------------------------------------------------


def read(base: Path, adapter: Path | None, dtype: torch.dtype) -> Weights | None:
    """The model in the folder `base` (config.json, safetensors), the LoRA adapter in `adapter` merged in
    fp32, as `load.load_model` does it; None where anything there is not known here."""
    from safetensors import safe_open

    files = sorted(base.glob("*.safetensors"))
    shape = shape_of(read_json(base / "config.json")) if files and (base / "config.json").exists() else None
    if shape is None:
        return None
    opened = [safe_open(path, framework="pt") for path in files]
    where = {name: file for file in opened for name in file.keys()}  # noqa: SIM118 (no mapping)
    added = {} if adapter is None else _updates(adapter)
    if added is None or not _complete(shape, where, added):
        return None

    def get(name: str) -> torch.Tensor:
        name = f"model.{name}"
        tensor, update = where[name].get_tensor(name), added.get(name)
        return tensor.to(dtype) if update is None else (tensor.float() + update()).to(dtype)

    embedding = get("embed_tokens.weight")
    # Not of its own size: even on the meta device that draws weights, for seconds.
    head = torch.nn.Linear(1, 1, bias=False)
    head.out_features, head.in_features = embedding.shape
    rows = where["lm_head.weight"].get_tensor("lm_head.weight").to(dtype) if (
        "lm_head.weight" in where) else embedding
    head.weight = torch.nn.Parameter(rows, requires_grad=False)
    return _assemble(shape, lambda name: embedding if name == "embed_tokens.weight" else get(name), head)


def _complete(shape: Shape, where: Iterable[str], added: Iterable[str]) -> bool:
    """Whether the files hold every tensor, and nothing that would go unread."""
    wanted = {f"model.layers.{i}.{name}.weight" for i in range(len(shape.kinds)) for name in (
        *_LINEAR, *filter(None, NORMS["gemma3_text" if shape.gemma else "llama"]))}
    wanted |= {"model.embed_tokens.weight", "model.norm.weight"}
    return wanted == {*where} - {"lm_head.weight"} and {*added} <= wanted


def _updates(adapter: Path) -> dict[str, Callable[[], torch.Tensor]] | None:
    """What a LoRA adapter adds to which weight, in fp32; None for an adapter of another kind."""
    from safetensors import safe_open

    settings = read_json(adapter / "adapter_config.json")
    path = adapter / "adapter_model.safetensors"
    if (settings.get("peft_type") != "LORA" or settings.get("bias", "none") != "none" or not path.exists()
            or any(settings.get(key) for key in _OTHER_ADAPTERS)):
        return None
    rank = settings["r"]
    scale = settings["lora_alpha"] / (rank ** 0.5 if settings.get("use_rslora") else rank)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    found = {}
    for name, down in tensors.items():
        whole = name.removeprefix("base_model.model.")
        if not whole.endswith(".lora_A.weight"):
            if not whole.endswith(".lora_B.weight"):
                return None
            continue
        up = tensors[name.replace(".lora_A.", ".lora_B.")]
        found[whole.replace(".lora_A.", ".")] = lambda up=up, down=down: (up.float() @ down.float()) * scale
    return found
