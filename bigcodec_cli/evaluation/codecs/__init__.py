"""The codecs that `eval` compares: BigCodec models and baselines."""
