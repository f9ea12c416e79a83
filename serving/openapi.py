"""The description of the API, OpenAPI 3.1: what each address takes, and every status that it may answer with."""

from __future__ import annotations

from collections.abc import Sequence

from lsgmer.inference.prediction import AutomaticTranscript, Prediction
from lsgmer.service.settings import ServiceSettings
from serving import openapi_calls as calls
from serving.openapi_parts import ALWAYS, ERROR, TEXT, Schema, get, post, refusals

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
            "description": "How speech sounds and reads. An estimate, not what a person feels. The WebSocket /live, "
            "which OpenAPI cannot describe, is in docs/conversations.md.",
        },
        "security": [{}, {"key": []}],
        "paths": {
            "/predict": {"post": _predict(settings, labels)},
            "/predict_batch": {"post": _predict_batch(settings, labels)},
            "/feedback": {"post": _feedback(labels)},
            "/analyze": {"post": calls.start(), "get": calls.jobs()},
            "/analyze/{name}": {"get": calls.status(), "delete": calls.stop()},
            "/card": {"get": get("The model card", {"type": "object"})},
            "/lineage": {"get": get("Hashes of the data, parameters and code of the model", {"type": "object"})},
            "/speakers": {"get": get("How many speakers' audio levels are kept", {"type": "object"})},
            "/speakers/{name}": {"delete": _forget()},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Prediction": _prediction(labels), "Error": ERROR, **calls.schemas()},
        },
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
    return post(
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
    return post(
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
    return post(
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
        "responses": {"204": {"description": "Deleted"}, **refusals((*ALWAYS, 404, 408, 413))},
    }
