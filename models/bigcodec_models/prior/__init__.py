"""Fitting the probabilities of a model's tokens that an entropy coder of the container uses."""

from bigcodec_models.prior.network import PriorConfig, PriorNetwork
from bigcodec_models.prior.trainer import FitConfig, FitReport, fit_prior

__all__ = ["FitConfig", "FitReport", "PriorConfig", "PriorNetwork", "fit_prior"]
