"""The corpora: one file each, which turns what is on disk into utterances and rejected rows."""
