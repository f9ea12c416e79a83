"""The feature store, and padded batches read from it."""
