"""The description of /analyze: what a call's analysis takes, and what its job says."""

from __future__ import annotations

from lsgmer.conversations.records import Analysis
from serving.openapi_parts import ALWAYS, TEXT, Schema, get, post, refusals

NAME: Schema = {"name": "name", "in": "path", "required": True, "schema": {**TEXT, "pattern": "^[0-9a-f]{32}$"}}
STATUSES = ["queued", "running", "done", "failed", "cancelled"]
OR_NULL: Schema = {"type": "null"}


def start() -> Schema:
    """Return the description of POST /analyze."""
    form: Schema = {
        "type": "object",
        "properties": {
            "audio": {"type": "string", "format": "binary", "description": "The call: WAV, FLAC, OGG, Opus or MP3"},
            "turns": {**TEXT, "description": "Who speaks when, as text or file; without it, voices are looked for"},
            "turns_format": {"enum": ["rttm", "srt", "vtt", "json", "csv", "tsv"]},
            "speakers": {**TEXT, "description": 'Names by channel, as JSON: ["agent", "customer"]'},
            "negative": {**TEXT, "description": 'Which emotions count as negative, as JSON: ["angry", "sad"]'},
            "transcribe": {"enum": ["true", "false"], "description": "Whether a machine writes missing words"},
        },
        "required": ["audio"],
        "additionalProperties": False,
    }
    begun: Schema = {
        "type": "object",
        "properties": {"job_id": TEXT, "status": {"enum": STATUSES}, "request_id": TEXT},
        "required": ["job_id", "status", "request_id"],
        "additionalProperties": False,
    }
    found = post(
        "Analyse a call: its turns, an emotion for each, and a summary",
        {"multipart/form-data": {"schema": form}},
        {202: ("A job; ask /analyze/JOB_ID until it is done", begun)},
        (409,),
    )
    location = {"description": "The job's address", "schema": TEXT}
    found["responses"]["202"]["headers"] = {"Location": location}
    return found


def jobs() -> Schema:
    """Return the description of GET /analyze."""
    return get("The caller's own jobs, and the limits", {"type": "object"})


def status() -> Schema:
    """Return the description of GET /analyze/NAME."""
    analysis = Analysis.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    analysis.pop("$defs", None)
    job: Schema = {
        "type": "object",
        "properties": {
            "job_id": TEXT,
            "status": {"enum": STATUSES},
            "stage": TEXT,
            "progress": {"type": "number", "minimum": 0, "maximum": 1},
            "turns_done": {"type": "integer"},
            "turns": {"type": "integer"},
            "error": {"anyOf": [TEXT, OR_NULL]},
            "created": TEXT,
            "finished": {"anyOf": [TEXT, OR_NULL]},
            "request_id": TEXT,
            "result": {"anyOf": [analysis, OR_NULL]},
        },
        "required": ["job_id", "status", "stage", "progress", "error", "result"],
        "additionalProperties": False,
    }
    found = get("How far a job is, and its result when it is done", job)
    return {**found, "parameters": [NAME], "responses": {**found["responses"], **refusals((404,))}}


def stop() -> Schema:
    """Return the description of DELETE /analyze/NAME."""
    return {
        "summary": "Cancel a job, or delete one that has ended",
        "parameters": [NAME],
        "responses": {"204": {"description": "It ends, or is gone"}, **refusals((*ALWAYS, 404, 408, 413))},
    }


def schemas() -> dict[str, Schema]:
    """Return the schemas that an analysis refers to."""
    found: dict[str, Schema] = Analysis.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )["$defs"]
    return found
