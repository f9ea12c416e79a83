"""What every other room builds on: errors, paths, records, sections of params.yaml, hashes, processes, stages."""
