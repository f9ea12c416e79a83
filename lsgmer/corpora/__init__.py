"""The corpora: one file each, which turns the files on disk into utterances and rejected rows."""
