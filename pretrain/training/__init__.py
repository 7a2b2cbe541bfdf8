"""The training loop and what it calls every step; building its parts is pretrain.prepare's."""
