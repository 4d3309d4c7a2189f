"""A run's spec as fairseq's own command line, and the command line as fairseq's configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from softlabels.files import read_json
from softlabels.grid.spec import TranslationSpec
from softlabels.grid.zoo import transformers
from softlabels.translation.compat import PLUGIN, fairseq

ARCHITECTURES = {"transformer_iwslt_de_en", "transformer_wmt_en_de"}
"""Names that fairseq has too; the others are its `transformer` with other sizes."""
NEVER = str(10**9)
SEED_STRIDE = 1_000_003
"""fairseq seeds update n by seed + n and epoch e by seed + e: neighbouring seeds would share masks and batches."""


def corpus_arguments(data: Path, device: str) -> list[str]:
    """Task, data and device; every call has them.

    `--required-batch-size-multiple 1`: else this fairseq drops the last batch of a split without a word.
    """
    source, target = read_json(data / "manifest.json")["languages"]
    where = ["--cpu"] if device == "cpu" else []  # which GPU: the current one, set when the process begins
    return [
        str(data / "bin"), "--task", "translation", "--source-lang", source, "--target-lang", target,
        "--required-batch-size-multiple", "1", "--num-workers", "0",
        "--data-buffer-size", "0",  # else a thread and its batches outlive every run that ends within an epoch
        "--user-dir", str(PLUGIN),
        "--distributed-world-size", "1", "--no-progress-bar", "--log-format", "simple", *where,
    ]  # fmt: skip


def network_arguments(spec: TranslationSpec) -> list[str]:
    """The network; every size is said, whatever fairseq's defaults are."""
    o = transformers.options(spec.model)
    name = spec.model.name if spec.model.name in ARCHITECTURES else "transformer"
    arguments = ["--arch", name, "--share-all-embeddings"]
    for side in ("encoder", "decoder"):
        sizes = {"layers": "layers", "embed-dim": "dim", "ffn-embed-dim": "ffn", "attention-heads": "heads"}
        for flag, option in sizes.items():
            arguments += [f"--{side}-{flag}", str(o[option])]
        arguments += [f"--{side}-normalize-before"] if o["pre_norm"] else []
    for flag in ("dropout", "attention_dropout", "activation_dropout"):
        arguments += [f"--{flag.replace('_', '-')}", repr(o[flag])]
    positions = str(spec.recipe.max_positions)
    return [*arguments, "--max-source-positions", positions, "--max-target-positions", positions]


def recipe_arguments(spec: TranslationSpec, seed: int, folder: Path) -> list[str]:
    """Optimiser, schedule, length, validation; `folder` receives checkpoints."""
    r = spec.recipe
    arguments = [
        "--seed", str(seed * SEED_STRIDE),
        "--optimizer", "adam", "--adam-betas", str(tuple(r.betas)), "--adam-eps", repr(r.eps),
        "--lr", repr(r.lr), "--lr-scheduler", "inverse_sqrt", "--warmup-updates", str(r.warmup_updates),
        "--warmup-init-lr", repr(r.warmup_init_lr), "--weight-decay", repr(r.weight_decay),
        "--clip-norm", repr(r.clip_norm), "--max-tokens", str(r.max_tokens),
        "--max-tokens-valid", str(max(r.max_tokens, r.max_positions)), "--update-freq", str(r.update_freq),
        "--save-dir", str(folder), "--no-epoch-checkpoints", "--best-checkpoint-metric", "loss",
        "--patience", str(r.patience or -1),
    ]  # fmt: skip
    arguments += ["--max-update", str(r.updates)] if r.updates else ["--max-epoch", str(r.epochs)]
    if r.validate_updates is not None:
        every = str(r.validate_updates)
        arguments += ["--validate-interval-updates", every, "--save-interval-updates", every]
        if r.updates is not None:  # else the last epoch ends a run, and must be validated
            arguments += ["--validate-interval", NEVER, "--save-interval", NEVER]
    return arguments


def parse(arguments: list[str]) -> Any:
    """fairseq's configuration of a command line, as its own commands make it."""
    fairseq()
    from fairseq import options, utils
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    parser = options.get_training_parser()
    utils.import_user_module(parser.parse_known_args([*arguments[:1], "--user-dir", str(PLUGIN)])[0])
    while str(PLUGIN.parent) in sys.path:  # fairseq has put it there, where its files would be top-level modules
        sys.path.remove(str(PLUGIN.parent))
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, input_args=arguments))
