"""Training runs of codecs and priors: plan, run, log, summary."""
