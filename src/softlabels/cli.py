"""The `softlabels` command: each rule of the workflow calls one of these, and so can you."""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from softlabels import slurm
from softlabels.errors import EXIT_ERROR, EXIT_RERUN, EXIT_USAGE, SoftlabelsError, SpecError, Stopped
from softlabels.layout import Layout

Arguments = argparse.Namespace


def _config(arguments: Arguments) -> dict[str, Any]:
    """The configuration file with `--scale` on top."""
    from softlabels.grid.config import read_yaml

    config = read_yaml(Path(arguments.config)) or {}
    if not isinstance(config, dict):
        raise SpecError(f"{arguments.config} must hold keys with values, not {type(config).__name__}")
    return config | ({"scale": arguments.scale} if arguments.scale else {})


def _plan(arguments: Arguments, **options: Any) -> Any:
    from softlabels.grid.expand import load_plan

    return load_plan(_config(arguments) | options, Path.cwd())


def _layout(plan: Any) -> Layout:
    """Where results of a plan are; refused if a newer project has laid them out."""
    from softlabels.grid.files import require_ours

    layout = Layout(Path("results") / plan.scale)
    require_ours(layout, plan.scale)
    return layout


def specs(arguments: Arguments) -> None:
    """Expand the grids and write the spec of every run, probe and artifact (`results/<scale>/specs/`)."""
    from softlabels.grid.files import write_plan

    plan = _plan(arguments)
    write_plan(plan, _layout(plan).specs)


def audit(arguments: Arguments) -> None:
    """What would run, what is done, what it costs: trainings, device hours, cache bytes. It needs no data.

    Of the artifacts that are named, with all teachers behind them, or of all.
    """
    from softlabels.grid.audit import audit as run_audit
    from softlabels.grid.audit import render, render_jobs
    from softlabels.grid.costs import check_cache_budget

    plan = _plan(arguments)
    if plan.scale == "paper":
        from softlabels.papers.planned import check_claims

        check_claims(plan)
    report = run_audit(plan, Path.cwd(), arguments.artifacts)
    table = render_jobs if arguments.jobs else render
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    for warning in report["warnings"]:
        print(warning, file=sys.stderr)
    check_cache_budget(plan)


def show(arguments: Arguments) -> None:
    """All about one figure or table, or one run. Of a figure or table: where it is declared, the code that measures and
    draws it, how to make it. Of a run: its spec, its seeds, where its files are, who needs it; its id may be shortened.
    """
    from softlabels.store_report import show as show_run
    from softlabels.store_report import show_artifact

    plan = _plan(arguments)
    artifact = next((a for a in plan.artifacts.values() if arguments.name in (a.id, a.target)), None)
    if artifact is None:
        print(show_run(plan, _layout(plan), arguments.name))
    else:
        print(show_artifact(plan, _layout(plan), artifact, Path.cwd(), Path(arguments.config)))


def schema(arguments: Arguments) -> None:
    """Describe every key of config.yaml, a grid, a scale, or of what stands in a grid, as JSON Schema."""
    from softlabels.grid.config import schema as json_schema

    print(json.dumps(json_schema(arguments.of), indent=1, ensure_ascii=False))


def gc(arguments: Arguments) -> None:
    """List what no current grid needs in the store and caches; remove it with --remove."""
    from softlabels.store_report import collect_garbage

    plan = _plan(arguments, variants=True)  # a labelled variant is not garbage because it is not asked for now
    print(collect_garbage(plan, _layout(plan), remove=arguments.remove))


def data(arguments: Arguments) -> None:
    """Prepare a data set once: memory-mapped arrays, or subwords for fairseq, and a manifest; from local files or
    downloaded."""
    from softlabels.grid.declared.corpora import CORPORA
    from softlabels.grid.parse import from_dict

    content = json.loads(arguments.dataset)
    root = arguments.root.expanduser() if arguments.root else None
    options = {"root": root, "mirror": arguments.mirror, "download": arguments.download}
    if isinstance(content, dict) and content.get("name") in CORPORA:
        from softlabels.grid.parts.translation import CorpusSpec
        from softlabels.translation.corpus.prepare import prepare as prepare_corpus

        prepare_corpus(from_dict(CorpusSpec, content, "dataset"), arguments.out, **options)
        return
    from softlabels.data.prepare import prepare
    from softlabels.grid.spec import DatasetSpec

    prepare(from_dict(DatasetSpec, content, "dataset"), arguments.out, **options)


def weights(arguments: Arguments) -> None:
    """Convert weights that torchvision publishes, once: from a local file, or downloaded."""
    from softlabels.data.weights import convert

    root = arguments.root.expanduser() if arguments.root else None
    convert(arguments.out, root=root, mirror=arguments.mirror, download=arguments.download)


def fingerprint(arguments: Arguments) -> None:
    """Print the fingerprint of images or text, for dataset.sha256: results then belong to these very files.

    Of images also the classes, in the order of their labels.
    """
    if not arguments.dataset.lstrip().startswith("{"):
        from softlabels.data.folders import class_names, fingerprint_folder

        print(fingerprint_folder(Path(arguments.dataset)))
        print(f"classes: {json.dumps(class_names(Path(arguments.dataset)), ensure_ascii=False)}")
        return
    from softlabels.grid.parse import from_dict
    from softlabels.grid.parts.translation import CorpusSpec
    from softlabels.translation.corpus.readers import fingerprint as of_corpus

    print(of_corpus(from_dict(CorpusSpec, json.loads(arguments.dataset), "dataset"), arguments.root.expanduser()))


def _jobs(arguments: Arguments) -> tuple[Any, list[tuple[str, int, str]]]:
    """A worker, and (id, seed, file stem) of each output that is asked for."""
    from softlabels.staging import stage_folder
    from softlabels.training.device import configure
    from softlabels.training.worker import Worker

    kinds = {"train": "runs", "cache": "cache", "evaluate": "probes", "translate": "probes"}
    parsed = [Layout.parse(path, kinds[arguments.command]) for path in arguments.outputs]
    if len({layout for layout, *_ in parsed}) > 1:
        raise SpecError("all outputs of one command must lie below the same results/<scale>")
    stage = stage_folder(arguments.stage) if arguments.stage else None
    seconds = getattr(arguments, "checkpoint_seconds", 60.0)
    worker = Worker(parsed[0][0], configure(arguments.device), seconds, stage, getattr(arguments, "workers", 0))
    return worker, [(name, seed, stem) for _, name, seed, stem in parsed]


def train(arguments: Arguments) -> None:
    """Train runs: each seed once, resumed where it stopped, published from the store when it is already there."""
    from softlabels.training import job

    worker, outputs = _jobs(arguments)
    job.train(worker, [(run, seed) for run, seed, _ in outputs])


def cache(arguments: Arguments) -> None:
    """Write caches of teachers' logits for students; with --check, recompute random rows of existing ones instead."""
    from softlabels.training import job

    worker, outputs = _jobs(arguments)
    if not arguments.check:
        job.cache(worker, [(name, seed) for name, seed, _ in outputs])
        return
    for name, seed, _ in outputs:
        worst = job.check_logits(worker, name, seed, arguments.check)
        print(f"{name} seed {seed}: largest difference {worst:.2g} of the largest logit")


def evaluate(arguments: Arguments) -> None:
    """Write what trained networks say about chosen images: logits or features, on clean or augmented views."""
    from softlabels.training import job

    worker, outputs = _jobs(arguments)
    job.evaluate_probes(worker, outputs)


def translate(arguments: Arguments) -> None:
    """Translate the sentences of a split with trained networks: beam search at a temperature, hypotheses as JSON."""
    evaluate(arguments)


def _artifact_job(function: str) -> Callable[[Arguments], None]:
    def call(arguments: Arguments) -> None:
        from softlabels.figures import make
        from softlabels.grid.files import read_artifact

        artifact = read_artifact(Layout(arguments.results).specs, arguments.artifact)
        getattr(make, function)(artifact, Layout(arguments.results), arguments.results.name)

    return call


measure = _artifact_job("measure_artifact")
measure.__doc__ = "Compute the metrics of one artifact from stored logits and probes (tidy rows and plotted numbers)."
figure = _artifact_job("draw_artifact")
figure.__doc__ = "Draw one figure or write one table from its measured numbers."


def metrics(arguments: Arguments) -> None:
    """Join the tidy rows of all artifacts into one metrics.csv."""
    from softlabels.figures.make import merge_metrics

    merge_metrics(arguments.tables, arguments.out)


def _scale(arguments: Arguments) -> str:
    return arguments.scale or str(_config(arguments).get("scale", "demo"))


def claims(arguments: Arguments) -> None:
    """Judge the papers' claims on metrics.csv: each holds, fails or is undecided, with effect and interval.

    Writes results/<scale>/claims.csv.
    """
    from softlabels.papers.verdicts import as_json, judge_scale, render

    scale = _scale(arguments)
    judged = judge_scale(Layout(Path("results") / scale), scale)
    print(json.dumps(as_json(judged, scale), indent=1) if arguments.json else render(judged, scale))


def report(arguments: Arguments) -> None:
    """Write one page of what reproduces: verdicts, figures, tables, discrepancies, runs; also of a part of a grid.

    Writes results/<scale>/reproduction.html, which needs no network and nothing beside it.
    """
    from softlabels.report.write import write_report

    scale = _scale(arguments)
    layout = Layout(Path("results") / scale)
    write_report(layout, scale, arguments.artifacts)
    print(layout.report)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="config.yaml", help="configuration file (default: config.yaml)")
    parser.add_argument("--scale", help="demo or paper, instead of what the configuration says")


def _add_originals(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, help="folder with the original files")
    parser.add_argument("--mirror", help="base URL to download from instead of the official one")
    parser.add_argument("--download", action="store_true", help="fetch missing files")


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results/demo"),
        help="folder of one scale (default: results/demo)",
    )


def _count(text: str) -> int:
    """A number of things, for argparse, which names the option where this raises."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="softlabels", description="Label smoothing and knowledge distillation, reproduced and extended."
    )
    parser.add_argument("--version", action="version", version=f"softlabels {version('softlabels')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(function: Callable[[Arguments], None], name: str, example: str) -> argparse.ArgumentParser:
        text = (function.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=re.split(r"[.:;](?:\s|$)", text)[0],
            description=text,
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(function=function)
        return command

    command = add(audit, "audit", "softlabels audit --scale paper muller2019_fig5")
    _add_config(command)
    command.add_argument("artifacts", nargs="*", help="as muller2019_fig5 or muller2019.fig5 (default: all)")
    command.add_argument("--jobs", action="store_true", help="each job that is left, and what it asks of a cluster")
    command.add_argument("--json", action="store_true", help="machine-readable, with jobs")

    command = add(show, "show", "softlabels show muller2019_fig5")
    _add_config(command)
    command.add_argument("name", help="muller2019_fig5 or muller2019.fig5, or the beginning of a run id")

    command = add(schema, "schema", "softlabels schema targets")
    command.add_argument(
        "of", help="config, grid, scale, dataset, corpus, model, recipe, translation_recipe, targets or probe"
    )

    command = add(gc, "gc", "softlabels gc --remove")
    _add_config(command)
    command.add_argument("--remove", action="store_true", help="delete what is listed")

    command = add(specs, "specs", "softlabels specs --scale paper")
    _add_config(command)

    command = add(data, "data", """softlabels data '{"name": "digits"}' --out results/data/digits""")
    command.add_argument("dataset", help="the data set as in a grid, as JSON")
    command.add_argument("--out", type=Path, required=True, help="folder of the prepared arrays")
    _add_originals(command)

    command = add(weights, "weights", "softlabels weights results/data/weights/resnet50-0676ba61.json --root data")
    command.add_argument(
        "out", type=Path, help="manifest to write, named as torchvision's file; the tensors lie beside"
    )
    _add_originals(command)

    command = add(fingerprint, "fingerprint", "softlabels fingerprint data/birds")
    command.add_argument("dataset", help="folder with train/<class>/…, or a corpus as in a grid, as JSON")
    command.add_argument("--root", type=Path, default=Path("data"), help="folder with archives (default: data)")

    trainers: tuple[tuple[Callable[[Arguments], None], str, str], ...] = (
        (train, "train", "runs/<run id>/seed<k>/run.json"),
        (cache, "cache", "cache/<cache id>/seed<k>/manifest.json"),
        (evaluate, "evaluate", "probes/<run id>/seed<k>/<probe id>.safetensors"),
        (translate, "translate", "probes/<run id>/seed<k>/<probe id>.json"),
    )
    for function, name, form in trainers:
        command = add(function, name, f"softlabels {name} results/demo/{form}   (paths as a dry run prints them)")
        command.add_argument("outputs", nargs="+", type=Path, help=f"what to make: results/<scale>/{form}")
        command.add_argument(
            "--device", default="auto", help="auto, cpu, cuda (a free GPU of several) or cuda:<n> (default: auto)"
        )
        command.add_argument(
            "--stage", metavar="DIR", help="folder on a local disk to copy data and caches to; may hold $VARIABLES"
        )
        if name != "translate":
            command.add_argument(
                "--workers",
                type=int,
                default=0,
                help="processes that decode images kept as files (default: 0)",
            )
        if name == "train":
            command.add_argument(
                "--checkpoint-seconds", type=float, default=60.0, help="seconds between two checkpoints (default: 60)"
            )
        if name == "cache":
            command.add_argument("--check", type=_count, metavar="N", help="recompute N random rows and compare")

    for artifact_function, name in ((measure, "measure"), (figure, "figure")):
        command = add(artifact_function, name, f"softlabels {name} --results results/demo muller2019.fig5")
        _add_results(command)
        command.add_argument("artifact", help="artifact id, as muller2019.fig5")

    command = add(metrics, "metrics", "softlabels metrics --out metrics.csv results/demo/metrics/muller2019/*.csv")
    command.add_argument("tables", type=Path, nargs="+", help="tidy tables of artifacts")
    command.add_argument("--out", type=Path, required=True, help="the joined table")

    command = add(claims, "claims", "softlabels claims --scale demo")
    _add_config(command)
    command.add_argument("--json", action="store_true", help="machine-readable, with every binding of every claim")

    command = add(report, "report", "softlabels report --scale demo")
    _add_config(command)
    command.add_argument("artifacts", nargs="*", help="ids, as muller2019.fig5 (default: all that were ever planned)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a failure that the user can mend is one line on stderr."""
    arguments = parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log can be followed while it is written
    try:
        arguments.function(arguments)
    except SoftlabelsError as error:
        print(f"softlabels {arguments.command}: {error}", file=sys.stderr, flush=True)
        if isinstance(error, Stopped) and error.progressed:
            slurm.run_again()  # in a job of Snakemake's: the same job goes on, and this process ends
        return error.exit_code
    except json.JSONDecodeError as error:
        print(f"softlabels {arguments.command}: the JSON given is not valid ({error})", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        print(f"softlabels {arguments.command}: interrupted; run the same command again", file=sys.stderr)
        return EXIT_RERUN
    except OSError as error:  # a disk, a permission: the file's name and the system's own words are the message
        print(f"softlabels {arguments.command}: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
