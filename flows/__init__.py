"""When things run: Prefect flows around the pipeline that dvc.yaml declares."""
