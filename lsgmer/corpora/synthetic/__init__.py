"""The embedded corpus: synthetic speech by eSpeak NG."""
