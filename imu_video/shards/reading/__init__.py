"""What a data folder holds, opened and checked: index, samples, columns, clips, teacher features; nothing is built."""
