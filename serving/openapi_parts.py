"""Parts that the descriptions of all addresses share: statuses, and the forms of requests and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]
WHY = {
    400: "the request cannot be understood",
    401: "no API key, or one that is not known",
    403: "asked from elsewhere than this machine without keys, or from another site's page",
    404: "there is no such thing",
    405: "the address does not take this method",
    408: "the body arrived too slowly",
    409: "the service is not set up for this: it keeps no log to comment on, or transcribes nothing",
    413: "more was sent than is allowed",
    415: "the content type is not understood",
    422: "audio that can be read, but from which no emotion is estimated",
    429: "this caller has asked too often",
    500: "an error of the service",
    503: "busy, stopping, or unable to log; try again after Retry-After seconds",
    504: "no answer in time",
}
ALWAYS = (401, 403, 405, 429, 500, 503, 504)
BODY = (400, 408, 413, 415)
TEXT: Schema = {"type": "string"}
ERROR: Schema = {
    "type": "object",
    "properties": {"error": TEXT, "request_id": TEXT},
    "required": ["error", "request_id"],
    "additionalProperties": False,
}


def get(summary: str, schema: Schema) -> Schema:
    """Return the description of a GET that answers with `schema`."""
    return {"summary": summary, "responses": {**answers({200: (summary, schema)}), **refusals(ALWAYS)}}


def post(summary: str, content: Schema, done: dict[int, tuple[str, Schema]], more: tuple[int, ...] = ()) -> Schema:
    """Return the description of a POST: what it takes, by content type, and how it answers when it is `done`."""
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {**answers(done), **refusals((*ALWAYS, *BODY, *more))},
    }


def answers(done: dict[int, tuple[str, Schema]]) -> Schema:
    """Return the descriptions of JSON answers, by status."""
    return {
        str(status): {"description": said, "content": {"application/json": {"schema": schema}}}
        for status, (said, schema) in done.items()
    }


def refusals(statuses: Sequence[int]) -> Schema:
    """Return the descriptions of refusals with these statuses."""
    schema = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": WHY[status], "content": schema} for status in sorted(set(statuses))}
