# The plan: which runs and artifacts the configuration asks for, and the spec files that jobs read.
import atexit
import contextlib
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from snakemake.cli import get_argument_parser
from snakemake.settings.types import DeploymentMethod, Quietness

from softlabels import slurm, warm
from softlabels.controller import begin, require_wanted
from softlabels.errors import SoftlabelsError
from softlabels.eta import follow
from softlabels.grid.audit import (
    jobs_behind,
    render_total,
    require_known,
    seconds_left,
    total,
    warnings_about,
)
from softlabels.grid.costs import check_cache_budget
from softlabels.grid.expand import load_plan
from softlabels.grid.files import (
    PlannedSpecs,
    Specs,
    mark_ours,
    read_plan,
    require_ours,
    write_plan,
)
from softlabels.grid.jobs import Job
from softlabels.grid.resources import CPUS, Estimator
from softlabels.layout import Layout

if workflow.remote_exec:
    slurm.become_array_task()

# Rules call the `softlabels` beside the `snakemake` that runs, whether or not its environment is activated; one thread
# per process, because jobs run side by side.
PYTHON = sys.executable
os.environ.update(PATH=os.pathsep.join([str(Path(PYTHON).parent), os.environ.get("PATH", os.defpath)]))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Snakemake writes it into the scripts of SLURM jobs as it is, where a space would end it.
sys.executable = shlex.quote(PYTHON)

# A conda environment takes the place in PATH of the one that was active before it, which may be behind ours. And a
# command takes the place of its bash, because older ones end at SIGTERM, and SLURM kills what still saves its state.
CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
CONDA_FIRST = 'export PATH="$CONDA_PREFIX/bin:$PATH"; ' if CONDA else ""
shell.prefix(f"set -euo pipefail; {CONDA_FIRST}exec ")

# One job at a time on the GPU of a workstation, unless a profile or --resources says how many there are; on a cluster
# (nodes) no limit. Not in profiles/default, which would overrule every other profile.
if workflow.nodes is None and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)
# And in a group's SLURM job, which has asked for what one of its jobs needs; each takes a node (profile).
if workflow.remote_exec:
    workflow.register_resource("nodes", 1)

PROFILE = workflow.resource_settings.default_resources or {}
if "slurm_extra" in PROFILE:
    raise WorkflowError("default-resources: slurm_extra has no effect here; give it as jobs.sbatch in config.yaml")


@contextlib.contextmanager
def in_one_sentence():
    """Instead of a traceback; Snakemake prints a WorkflowError as it is."""
    try:
        yield
    except SoftlabelsError as error:
        raise SystemExit(f"softlabels: {error}") from None


# A job of a cluster reads the spec of what it makes, not the whole grid.
with in_one_sentence():
    if workflow.remote_exec:
        LAYOUT = Layout(Path("results") / str(config.get("scale", "demo")))
        PLAN, SPECS = read_plan(LAYOUT.specs), Specs(LAYOUT.specs)
    else:
        PLAN = load_plan(config, Path.cwd())
        LAYOUT, SPECS = Layout(Path("results") / PLAN.scale), PlannedSpecs(PLAN)
        check_cache_budget(PLAN)
        require_ours(LAYOUT, PLAN.scale)
    require_wanted(LAYOUT)

LOGS = f"logs/{PLAN.scale}"
ESTIMATOR = Estimator(PLAN, LAYOUT)
ARTIFACTS = PLAN.artifacts


# Snakemake does not tell a Snakefile its targets while it reads it.
TARGETS = [] if workflow.remote_exec else get_argument_parser().parse_args(sys.argv[1:]).targets


def say_costs():
    """What is behind the targets of a dry run, unless it has failed."""
    if workflow.dag is not None:
        print(render_total(total(PLAN, Path.cwd(), TARGETS)), file=sys.stderr)


# At the end, because Snakemake's own table comes first, and a dry run has no onsuccess. With --quiet rules both fit on
# one screen; with -q, which is rules and progress, Snakemake looks at no job further.
if workflow.output_settings.dryrun and not workflow.remote_exec:
    atexit.register(say_costs)
    quiet = workflow.output_settings.quiet or set()
    if Quietness.RULES in quiet and Quietness.PROGRESS not in quiet:
        quiet.update({Quietness.HOST, Quietness.REASON})


# Not a rule: the specs of a changed plan must not count as news for jobs whose own runs are the same.
# Never in a dry run, which writes nothing.
onstart:
    if workflow.executor_plugin.name == "slurm" and shutil.which("sbatch") is None:
        raise WorkflowError(
            "there is no sbatch on the PATH: start snakemake --profile slurm on a login node of the cluster"
        )
    for warning in warnings_about(PLAN, jobs_behind(PLAN, LAYOUT, TARGETS)):
        print(warning, file=sys.stderr)
    with in_one_sentence():
        if workflow.executor_plugin.name == "slurm":
            rules = [job.rule.name for job in workflow.dag.needrun_jobs()]
            slurm.require_arrays_fit(workflow.executor_settings.array_jobs, rules, workflow.nodes)
        begin(LAYOUT)
        mark_ours(LAYOUT, PLAN.scale)
    # So that a command can be pasted before its job has run.
    for folder in {Path(log).parent for each in workflow.rules for log in each.log}:
        folder.mkdir(parents=True, exist_ok=True)
    write_plan(PLAN, LAYOUT.specs)
    # Under Snakemake's default limit of jobs a second, each selection of jobs leaves a timer that makes it select again
    # a second later, for ever: after a thousand jobs it does little else. A limit that a user gives stays.
    limit = workflow.scheduler.job_rate_limiter
    if limit is not None and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
    warm.serve_in_background(PYTHON)
    follow(seconds_left(PLAN, Path.cwd(), TARGETS))
