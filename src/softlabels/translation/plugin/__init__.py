"""What fairseq's `--user-dir` loads: the criterion `soft_targets`."""

from softlabels.translation.criterion import SoftTargets

__all__ = ["SoftTargets"]
