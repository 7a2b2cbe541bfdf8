"""Layers that several encoders share: pooling, attention, convolutions; no encoder lives here."""
