# The plan: which runs and artifacts the configuration asks for, and the spec files that jobs read.
import contextlib
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from snakemake.settings.types import DeploymentMethod

from softlabels.controller import begin, require_wanted
from softlabels.errors import SoftlabelsError
from softlabels.grid.audit import render_total, total
from softlabels.grid.costs import check_cache_budget
from softlabels.grid.expand import load_plan
from softlabels.grid.files import artifact_dict, digest, write_plan
from softlabels.grid.packs import cache_packs, probe_packs, training_packs, translation_packs
from softlabels.grid.resources import CPUS, Estimator
from softlabels.layout import Layout

# Rules call the `softlabels` beside the `snakemake` that runs, whether or not its environment is activated; one thread
# per process, because jobs run side by side.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Snakemake writes it into the scripts of SLURM jobs as it is, where a space would end it.
sys.executable = shlex.quote(sys.executable)

# A conda environment takes the place in PATH of the one that was active before it, which may be behind ours. And a
# command takes the place of its bash, because older ones end at SIGTERM, and SLURM kills what still saves its state.
CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
CONDA_FIRST = 'export PATH="$CONDA_PREFIX/bin:$PATH"; ' if CONDA else ""
shell.prefix(f"set -euo pipefail; {CONDA_FIRST}exec ")

# One job at a time on the GPU of a workstation, unless a profile or --resources says how many there are; on a cluster
# (nodes) no limit. Not in profiles/default, which would overrule every other profile.
if workflow.nodes is None and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)

if "slurm_extra" in (workflow.resource_settings.default_resources or {}):
    raise WorkflowError("default-resources: slurm_extra has no effect here; give it as jobs.sbatch in config.yaml")


@contextlib.contextmanager
def in_one_sentence():
    """Instead of a traceback; Snakemake prints a WorkflowError as it is."""
    try:
        yield
    except SoftlabelsError as error:
        raise WorkflowError(str(error)) from None


with in_one_sentence():
    PLAN = load_plan(config, Path.cwd())
    check_cache_budget(PLAN)
    LAYOUT = Layout(Path("results") / PLAN.scale)
    require_wanted(LAYOUT)

LOGS = f"logs/{PLAN.scale}"
ESTIMATOR = Estimator(PLAN, LAYOUT)
ARTIFACTS = PLAN.artifacts

# Here, because a dry run has no onstart.
if workflow.output_settings.dryrun:
    with in_one_sentence():
        print(render_total(total(PLAN, LAYOUT, ESTIMATOR.recorded)), *PLAN.warnings, sep="\n", file=sys.stderr)


# Not a rule: the specs of a changed plan must not count as news for jobs whose own runs are the same.
# Never in a dry run, which writes nothing.
onstart:
    if workflow.executor_plugin.name == "slurm" and shutil.which("sbatch") is None:
        raise WorkflowError(
            "there is no sbatch on the PATH: start snakemake --profile slurm on a login node of the cluster"
        )
    for warning in PLAN.warnings:
        print(warning, file=sys.stderr)
    with in_one_sentence():
        begin(LAYOUT)
    write_plan(PLAN, LAYOUT.root / "specs")
