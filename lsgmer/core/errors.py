"""Every failure that a user can fix, as one family of exceptions with the exit codes of the README's table."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every lsgmer command; the README's table is checked against this."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    REJECTED = 3
    REFUSED = 4
    BROKEN = 5


class LsgmerError(Exception):
    """A failure that the user can fix. The message names the file, row or field, the reason and the remedy."""

    exit_code = ExitCode.ERROR


class ParamsError(LsgmerError):
    """A parameter is unknown, missing or of the wrong type."""

    exit_code = ExitCode.USAGE


class GateRejected(LsgmerError):
    """The gate's verdict on the model is not PASS."""

    exit_code = ExitCode.REJECTED


class PackagingRefused(LsgmerError):
    """The model cannot be packaged: its gate did not pass or its hashes do not match."""

    exit_code = ExitCode.REFUSED


class AuditBroken(LsgmerError):
    """At least one link of a model's lineage does not match its recorded hash."""

    exit_code = ExitCode.BROKEN
