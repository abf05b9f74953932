"""Encoders, decoders, and the network that joins them with a quantizer."""
