"""The description of the API, OpenAPI 3.1: what each address takes, and every status that it may answer with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lsgmer.inference.prediction import AutomaticTranscript, Prediction
from lsgmer.service.settings import ServiceSettings

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
PREVIOUS: Schema = {
    "type": "array",
    "items": {
        "anyOf": [
            TEXT,
            {
                "type": "object",
                "properties": {"text": TEXT, "speaker": {"anyOf": [TEXT, {"type": "null"}]}},
                "required": ["text"],
                "additionalProperties": False,
            },
        ]
    },
}
SPEAKER: Schema = {"type": "string", "pattern": r"^[A-Za-z0-9 .@:+-]{0,128}$"}
TRANSCRIBE = "Where no words are given, and the model reads some, a machine writes them from the audio"
CHANNEL: Schema = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 7}, {"enum": ["left", "right"]}]}


def document(settings: ServiceSettings, labels: Sequence[str], version: str) -> Schema:
    """Return the OpenAPI document of a service with these settings, whose model has these labels."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lsgmer",
            "version": version,
            "description": "How speech sounds and reads. An estimate, not what a person feels.",
        },
        "security": [{}, {"key": []}],
        "paths": {
            "/predict": {"post": _predict(settings, labels)},
            "/predict_batch": {"post": _predict_batch(settings, labels)},
            "/feedback": {"post": _feedback(labels)},
            "/card": {"get": _get("The model card", {"type": "object"})},
            "/lineage": {"get": _get("Hashes of the data, parameters and code of the model", {"type": "object"})},
            "/speakers": {"get": _get("How many speakers' audio levels are kept", {"type": "object"})},
            "/speakers/{name}": {"delete": _forget()},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Prediction": _prediction(labels), "Error": ERROR},
        },
    }


ERROR: Schema = {
    "type": "object",
    "properties": {"error": TEXT, "request_id": TEXT},
    "required": ["error", "request_id"],
    "additionalProperties": False,
}


def _prediction(labels: Sequence[str]) -> Schema:
    schema: Schema = Prediction.model_json_schema(mode="serialization")
    shares = {"type": "object", "properties": {name: {"type": "number"} for name in labels}, "required": list(labels)}
    del schema["$defs"]  # the one that is in there has its place below
    schema["properties"] |= {
        "transcript": {"anyOf": [AutomaticTranscript.model_json_schema(mode="serialization"), {"type": "null"}]},
        "emotion": {"anyOf": [{"enum": list(labels)}, {"type": "null"}]},
        "probabilities": {**shares, "additionalProperties": False},
        "attribution": {**shares, "additionalProperties": False},
    }
    schema["examples"] = [
        {
            "emotion": labels[0],
            "probabilities": {name: round(1 / len(labels), 3) for name in labels},
            "attribution": {name: round(1 / len(labels), 3) for name in labels},
            "consistency": 1.0,
            "modalities": ["text"],
            "model_version": "lsgmer:0123456789abcdef",
            "request_id": "b2b6c8e0-0000-4000-8000-000000000000",
            "contribution": {"text": 0.1},
            "duration_s": None,
            "abstained": False,
            "context_used": None,
            "normalised_by": None,
            "enrolled": None,
            "warnings": [],
            "transcript": None,
        }
    ]
    return schema


def _predict(settings: ServiceSettings, labels: Sequence[str]) -> Schema:
    text = {**TEXT, "maxLength": settings.max_text_characters, "examples": ["I told you this would happen!"]}
    form: Schema = {
        "type": "object",
        "properties": {
            "audio": {"type": "string", "format": "binary", "description": "WAV, FLAC, OGG, Opus or MP3"},
            "text": text,
            "previous": {**TEXT, "description": 'JSON: ["a text", {"text": "another", "speaker": "name"}]'},
            "speaker": SPEAKER,
            "channel": {**TEXT, "description": "0, 1, ..., left or right", "pattern": "^([0-7]|left|right)$"},
            "transcribe": {"enum": ["true", "false"], "description": TRANSCRIBE},
        },
        "additionalProperties": False,
    }
    body: Schema = {
        "type": "object",
        "properties": {
            "text": text,
            "previous": {**PREVIOUS, "maxItems": settings.max_previous},
            "speaker": SPEAKER,
        },
        "required": ["text"],
        "additionalProperties": False,
    }
    return _post(
        "Estimate the emotion in a recording, in the words, or in both together",
        {"multipart/form-data": {"schema": form}, "application/json": {"schema": body}},
        {200: ("An estimate", {"$ref": "#/components/schemas/Prediction"})},
        (409, 422),
    )


def _predict_batch(settings: ServiceSettings, labels: Sequence[str]) -> Schema:
    item: Schema = {
        "type": "object",
        "properties": {
            "audio": {"type": "string", "contentEncoding": "base64"},
            "text": {**TEXT, "maxLength": settings.max_text_characters},
            "previous": {**PREVIOUS, "maxItems": settings.max_previous},
            "speaker": SPEAKER,
            "channel": CHANNEL,
            "transcribe": {"type": "boolean", "description": TRANSCRIBE},
        },
        "additionalProperties": False,
    }
    anything: Schema = {
        "description": "Anything else is answered by an error of its own, and the others are estimated."
    }
    items = {"type": "array", "minItems": 1, "maxItems": settings.max_items, "items": {"anyOf": [item, anything]}}
    asked: Schema = {
        "type": "object",
        "properties": {"items": items},
        "required": ["items"],
        "additionalProperties": False,
        "examples": [{"items": [{"text": "I told you this would happen!"}, {"text": "See you tomorrow."}]}],
    }
    done = _prediction(labels)
    done["properties"]["status"] = {"const": 200}
    done["required"] = [*done.get("required", []), "status"]
    del done["examples"]
    failed: Schema = {
        "type": "object",
        "properties": {"status": {"type": "integer", "minimum": 400}, "error": TEXT, "request_id": TEXT},
        "required": ["status", "error", "request_id"],
        "additionalProperties": False,
    }
    answers: Schema = {
        "type": "object",
        "properties": {"answers": {"type": "array", "items": {"anyOf": [done, failed]}}, "request_id": TEXT},
        "required": ["answers", "request_id"],
        "additionalProperties": False,
    }
    return _post(
        "Estimate several utterances; each is answered, or refused for a reason of its own",
        {"application/json": {"schema": asked}},
        {200: ("An answer for each item, in order", answers)},
    )


def _feedback(labels: Sequence[str]) -> Schema:
    content: Schema = {
        "type": "object",
        "properties": {"request_id": {**TEXT, "minLength": 1, "maxLength": 256}, "label": {"enum": list(labels)}},
        "required": ["request_id", "label"],
        "additionalProperties": False,
        "examples": [{"request_id": "b2b6c8e0-0000-4000-8000-000000000000", "label": labels[0]}],
    }
    return _post(
        "Say what the right label of an earlier answer is",
        {"application/json": {"schema": content}},
        {201: ("Recorded", content)},
        (404, 409),
    )


def _forget() -> Schema:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "summary": "Delete the audio level of a speaker",
        "parameters": [name],
        "responses": {"204": {"description": "Deleted"}, **_refusals((*ALWAYS, 404, 408, 413))},
    }


def _get(summary: str, schema: Schema) -> Schema:
    return {"summary": summary, "responses": {**_answers({200: (summary, schema)}), **_refusals(ALWAYS)}}


def _post(summary: str, content: Schema, done: dict[int, tuple[str, Schema]], more: tuple[int, ...] = ()) -> Schema:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {**_answers(done), **_refusals((*ALWAYS, *BODY, *more))},
    }


def _answers(done: dict[int, tuple[str, Schema]]) -> Schema:
    return {
        str(status): {"description": said, "content": {"application/json": {"schema": schema}}}
        for status, (said, schema) in done.items()
    }


def _refusals(statuses: Sequence[int]) -> Schema:
    schema = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": WHY[status], "content": schema} for status in sorted(set(statuses))}
