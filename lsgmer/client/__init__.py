"""The service from Python: `from lsgmer.client import Client`. Needs neither torch nor BentoML."""

from lsgmer.client.client import BatchItem, Client
from lsgmer.client.jobs import Job, JobStatus
from lsgmer.client.live import Live, LiveEvent
from lsgmer.client.transport import ClientError

__all__ = ["BatchItem", "Client", "ClientError", "Job", "JobStatus", "Live", "LiveEvent"]
