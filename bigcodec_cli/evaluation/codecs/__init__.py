"""The codecs that `eval` measures: models of ours, and other programs."""
