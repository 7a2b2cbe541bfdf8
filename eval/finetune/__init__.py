"""Networks trained on labels: fine-tuning, joint training, WiSE-FT, label spreading."""
