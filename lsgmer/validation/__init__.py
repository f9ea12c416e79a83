"""The data checks: rules, the frame they look at, reports. Great Expectations is used here only."""
