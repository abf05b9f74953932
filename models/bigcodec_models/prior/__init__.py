"""Fitting what the container's entropy coders know beforehand of a model's tokens."""

from bigcodec_models.prior.network import PriorConfig, PriorNetwork
from bigcodec_models.prior.trainer import FitConfig, FitReport, fit_prior

__all__ = ["FitConfig", "FitReport", "PriorConfig", "PriorNetwork", "fit_prior"]
