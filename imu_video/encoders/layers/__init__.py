"""Layers that several encoders share: pooling, attention, convolutions; no complete encoders."""
