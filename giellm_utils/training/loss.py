"""Cross-entropy over target tokens, without holding the logits of a whole batch.

A batch of 8 SCNM targets is about 220 tokens x 262,144 logits for Gemma-3-270M, several times over in
the ordinary computation. Here the logits of CHUNK tokens at a time stand in two buffers that are kept,
and the gradient with respect to the hidden states is made in the same pass.
"""

from __future__ import annotations

import torch

from giellm_utils.core.settings import ConfigError
from giellm_utils.models.products import product, widened

IGNORE = -100
#: Tokens a pass: 64 x 262,144 logits are 34 MB in bf16 and 67 MB in fp32.
CHUNK = 64


class Buffers:
    """The two [CHUNK, V] buffers of one head, in its dtype and in fp32, kept between steps."""

    def __init__(self) -> None:
        self.key: tuple | None = None
        self.low = self.full = torch.empty(0)

    def get(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        key = (weight.shape[0], weight.dtype, weight.device)
        if key != self.key:
            self.low = torch.empty(CHUNK, weight.shape[0], dtype=weight.dtype, device=weight.device)
            self.full = torch.empty(CHUNK, weight.shape[0], dtype=torch.float32, device=weight.device)
            self.key = key
        return self.low, self.full


class _FrozenHeadLoss(torch.autograd.Function):
    """Summed cross-entropy of hidden [N, H] against labels [N] under a frozen output layer [V, H],
    in which `trained` [K, H] stand in the place of the rows `at` [K]; each label counts as often as
    `weights` [N] say, or once."""

    @staticmethod
    def forward(ctx, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, trained: torch.Tensor,
                at: torch.Tensor, buffers: Buffers, weights: torch.Tensor | None) -> torch.Tensor:
        low, full = buffers.get(weight)
        states = hidden.detach().to(weight.dtype)
        new = trained.detach().to(weight.dtype)
        weight = widened(weight)
        gradient, trained_gradient = torch.empty_like(states), torch.zeros_like(trained)
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for start in range(0, len(states), CHUNK):
            rows, wanted = states[start:start + CHUNK], labels[start:start + CHUNK, None]
            n = len(rows)
            product(rows, weight.T, out=low[:n])
            low[:n].index_copy_(1, at, product(rows, new.T))
            logits = full[:n].copy_(low[:n])
            logits -= logits.amax(1, keepdim=True)
            right = logits.gather(1, wanted)
            norm = logits.exp_().sum(1, keepdim=True)
            losses = norm.log() - right
            logits /= norm
            logits.scatter_add_(1, wanted, logits.new_full(wanted.shape, -1.0))
            if weights is not None:
                losses *= weights[start:start + CHUNK, None]
                logits *= weights[start:start + CHUNK, None]
            total += losses.sum()
            picked = low[:n].copy_(logits).index_select(1, at)
            low[:n].index_fill_(1, at, 0)
            gradient[start:start + n] = product(low[:n], weight) + product(picked, new)
            trained_gradient += product(picked.T, rows)
        ctx.save_for_backward(gradient, trained_gradient)
        ctx.dtype = hidden.dtype
        return total.float()

    @staticmethod
    def backward(ctx, upstream: torch.Tensor):
        gradient, trained = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None, trained * upstream, None, None, None


class TargetHead:
    """Makes a causal LM's output layer see target positions only, and gives their loss.

    With a frozen output layer (LoRA, with or without single trainable tokens) the layer's forward is the
    chunked loss itself: it reads the weight inside the module, where a sharded one is whole. `rows`: ids of
    the only rows scored (training.output_rows); each label must be among them. Where the layer is trained
    (full fine-tuning), or its logits are capped, it computes the picked logits and the loss is the library's.
    """

    def __init__(self, model, rows: torch.Tensor | None = None) -> None:
        head = model.get_output_embeddings()
        self.layer = getattr(head, "token_adapter", None)  # peft's wrapper where single tokens are trained
        self.linear = self.layer.base_layer if self.layer else head
        self.chunked = (not self.linear.weight.requires_grad and getattr(self.linear, "bias", None) is None
                        and not getattr(model.config.get_text_config(), "final_logit_softcapping", None))
        if rows is not None and not self.chunked:
            raise ConfigError("training.output_rows texts is for a frozen output layer without capped "
                              "logits; set it to all")
        self.at = torch.tensor(self.layer.token_indices["default"] if self.layer else [], dtype=torch.long)
        self.rows = None if rows is None else torch.unique(torch.cat([rows, self.at]))
        #: Of the batch that comes next: labels and their weights, each [batch, T]; all weigh 1 where None.
        self.labels: torch.Tensor | None = None
        self.weights: torch.Tensor | None = None
        self.buffers = Buffers()
        self._picked: tuple[torch.Tensor, torch.Tensor] | None = None
        head.register_forward_pre_hook(lambda module, args: (args[0][self.targets()],))
        if self.chunked:
            head.forward = self._summed

    def targets(self) -> torch.Tensor:
        """Where the batch that comes next has a loss, a mask [batch, T]."""
        return self.labels != IGNORE

    def _summed(self, hidden: torch.Tensor) -> torch.Tensor:
        """The summed loss [] of the picked hidden states [N, H], in the place of their logits."""
        weight, at, labels = self.linear.weight, self.at.to(hidden.device), self.labels[self.targets()]
        trained = (self.layer.trainable_tokens_delta["default"] if self.layer
                   else weight.new_empty(0, weight.shape[1]))
        if self.rows is not None:
            weight, place = self._scored(weight)
            at, labels = place[at], place[labels]
        return _FrozenHeadLoss.apply(hidden, weight, labels, trained, at, self.buffers,
                                     self._wanted_weights())

    def _scored(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The scored rows of the frozen weight, and where each id stands among them; made once."""
        if self._picked is None:
            rows = self.rows.to(weight.device)
            # An id that is not scored gets a place out of range: a label there is an error, not a wrong loss.
            place = torch.full((weight.shape[0],), len(rows), device=weight.device)
            place[rows] = torch.arange(len(rows), device=weight.device)
            self._picked = weight.detach()[rows].clone(), place
        return self._picked

    def _wanted_weights(self) -> torch.Tensor | None:
        return None if self.weights is None else self.weights[self.targets()]

    def loss(self, outputs, labels: torch.Tensor, num_items_in_batch=None) -> torch.Tensor:
        """Mean (or sum / `num_items_in_batch`) over the labels [batch, T] that are not IGNORE, weighed."""
        wanted = labels[labels != IGNORE]
        if self.chunked:
            total = outputs.logits
        elif self.weights is None:
            total = torch.nn.functional.cross_entropy(outputs.logits.float(), wanted, reduction="sum")
        else:
            losses = torch.nn.functional.cross_entropy(outputs.logits.float(), wanted, reduction="none")
            total = (losses * self._wanted_weights()).sum()
        return total / (len(wanted) if num_items_in_batch is None else num_items_in_batch)
