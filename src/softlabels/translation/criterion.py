"""fairseq's criterion of this project: (1 − β)·(LS-)CE + β·T²·KL(teacher_T ‖ student_T), and the conventions around it.

The teacher is a cache (`--kd-cache`, a folder with a manifest) or a network beside the student (`--kd-teacher`, a
folder of a finished run). Validation reports plain cross-entropy whatever is minimised, so that runs can be compared
and the best checkpoint means the same for all.
"""

# No postponed annotations: fairseq makes command-line options of the configuration's types.
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor

from softlabels.translation.cache import CachedTeacher
from softlabels.translation.losses import TokenLoss
from softlabels.translation.network import Corpus, OnlineTranslationTeacher, load, token_features

LOG2 = math.log(2)


@dataclass
class SoftTargetsConfig(FairseqDataclass):
    loss: str = field(
        default="{}", metadata={"help": "fields of softlabels.translation.losses.TokenLoss as JSON; {}: hard labels"}
    )
    kd_cache: str = field(default="", metadata={"help": "folder of a cache of the teacher's logits"})
    kd_files: str = field(default="", metadata={"help": "where copies of the cache's files are read; empty: there"})
    kd_origin: str = field(default="{}", metadata={"help": "what the cache's manifest must say, as JSON"})
    kd_teacher: str = field(default="", metadata={"help": "folder of a finished run that teaches online"})
    kd_checkpoint: str = field(default="last", metadata={"help": "of the teacher: last or best"})
    autocast_bf16: bool = field(default=False, metadata={"help": "layers in bf16, output layer and loss in fp32"})


@register_criterion("soft_targets", dataclass=SoftTargetsConfig)
class SoftTargets(FairseqCriterion):
    """Sums over the tokens of a batch, divided by their number by the trainer."""

    def __init__(
        self,
        task: Any,
        loss: str,
        kd_cache: str,
        kd_files: str,
        kd_origin: str,
        kd_teacher: str,
        kd_checkpoint: str,
        autocast_bf16: bool,
    ) -> None:
        super().__init__(task)
        self.loss = TokenLoss(**json.loads(loss)) if loss != "{}" else TokenLoss(1.0)
        self.autocast_bf16 = autocast_bf16
        # In a tuple, so that no module sees it: neither its weights nor its mode are the student's.
        self._teacher: tuple[Any, ...] = ()
        if kd_cache:
            files = Path(kd_files) if kd_files else None
            self._teacher = (CachedTeacher(Path(kd_cache), Corpus.of(task), json.loads(kd_origin), files),)
        elif kd_teacher:
            self._teacher = (OnlineTranslationTeacher(load(Path(kd_teacher), kd_checkpoint, Corpus.of(task))),)

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss, number of tokens, and what is logged."""
        device_type = sample["target"].device.type
        with torch.autocast(device_type, torch.bfloat16, enabled=self.autocast_bf16 and model.training):
            features, labels = token_features(model, sample, self.padding_idx)
        # The output layer in fp32 always: at high temperatures targets differ by less than bf16 can tell.
        logits = model.decoder.output_layer(features.float())
        tokens = int(sample["ntokens"])
        log = {"ntokens": tokens, "nsentences": sample["target"].size(0), "sample_size": tokens}
        if not model.training:
            z = logits.float()
            loss = (torch.logsumexp(z, 1) - z.gather(1, labels[:, None])[:, 0]).sum()
        elif self._teacher:
            teacher = self._teacher[0].targets(sample, self.loss.teacher_temperature, labels)
            loss = self.loss(logits, labels, teacher)
        else:
            loss = self.loss(logits, labels)
        return loss, tokens, {**log, "loss": loss.detach()}

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Bits per token, as fairseq logs them."""
        tokens = sum(log["ntokens"] for log in logging_outputs)
        loss = sum(log["loss"] for log in logging_outputs)
        metrics.log_scalar("loss", loss / tokens / LOG2, tokens, round=6)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Sums over workers mean the same."""
        return True
