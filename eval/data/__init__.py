"""Windows, labels, features and splits for evaluation; no protocol lives here."""
