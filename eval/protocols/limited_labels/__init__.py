"""Limited-label training: few labels per class, all methods on the same labels."""
