"""The two tasks: what planning asks of an image network and of a translation network, answered by two classes alike.

Each wraps the spec of one run, knows what is declared, and computes nothing. Ids (`grid.identity`), costs
(`grid.costs`) and resources (`grid.resources`) are put together from their answers.
"""

from __future__ import annotations

from softlabels.grid.spec import Run, TranslationSpec
from softlabels.grid.tasks.image import ImageTask
from softlabels.grid.tasks.translation import TranslationTask


def task_of(run: Run) -> ImageTask | TranslationTask:
    """What planning knows of a run."""
    return TranslationTask(run) if isinstance(run, TranslationSpec) else ImageTask(run)
