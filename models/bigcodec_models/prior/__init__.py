"""Fitting what the container's entropy coders know beforehand of a model's tokens."""

from bigcodec_models.prior.fit import FitConfig, FitReport, fit_prior
from bigcodec_models.prior.network import PriorConfig, PriorNetwork

__all__ = ["FitConfig", "FitReport", "PriorConfig", "PriorNetwork", "fit_prior"]
