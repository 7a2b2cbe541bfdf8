"""Reading and checking of data folders: index, samples, columns, clips, teacher features; nothing is built here."""
