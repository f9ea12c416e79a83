"""What every room stands on: errors, paths, records, sections of params.yaml, hashes, processes, stages."""
