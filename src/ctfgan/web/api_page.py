"""The OpenAPI document in a form that a template can show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """A field of a request or of an answer."""

    name: str
    type: str
    default: str
    """Empty for a field without one."""
    is_required: bool
    text: str


@dataclass(frozen=True)
class Endpoint:
    """A method and a path."""

    method: str
    path: str
    summary: str
    text: str
    parameters: list[Field]
    """Behind the question mark."""
    body: list[Field]
    body_type: str
    """Empty for a request without a body."""
    answer: list[Field]
    refusals: list[tuple[str, str]]


def described(document: dict[str, Any]) -> list[Endpoint]:
    """All endpoints of an OpenAPI document, in its order."""
    return [
        _endpoint(document, method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def _endpoint(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Endpoint:
    parameters = [
        _field(
            document,
            parameter["name"],
            {"description": parameter.get("description", ""), **parameter["schema"]},
            parameter.get("required", False),
        )
        for parameter in operation.get("parameters", [])
    ]
    bodies: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    body_type = next(iter(bodies), "")
    body = bodies.get(body_type, {})
    responses = operation["responses"]
    answer = responses["200"].get("content", {}).get("application/json", {})
    return Endpoint(
        method,
        path,
        operation["summary"],
        operation.get("description", ""),
        parameters,
        _fields(document, body.get("schema", {})),
        body_type,
        _fields(document, answer.get("schema", {})),
        [(status, response["description"]) for status, response in responses.items() if status != "200"],
    )


def _fields(document: dict[str, Any], schema: dict[str, Any], within: str = "") -> list[Field]:
    """The fields of an object, with those of objects inside it behind them."""
    schema = _resolved(document, schema)
    found = []
    for name, inner in schema.get("properties", {}).items():
        place = f"{within}{name}"
        found.append(_field(document, place, inner, name in schema.get("required", [])))
        found += _fields(document, inner, f"{place}.")
        found += _fields(document, inner.get("items", {}), f"{place}[].")
    return found


def _field(document: dict[str, Any], name: str, schema: dict[str, Any], is_required: bool) -> Field:
    resolved = _resolved(document, schema)
    default = json.dumps(resolved["default"]) if resolved.get("default") is not None else ""
    text = schema.get("description", resolved.get("description", ""))
    return Field(name, _type(document, resolved), default, is_required, text)


def _type(document: dict[str, Any], schema: dict[str, Any]) -> str:
    schema = _resolved(document, schema)
    if "anyOf" in schema:
        return " or ".join(_type(document, choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(json.dumps, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(document, schema['items'])}"
    if schema.get("format") == "binary":
        return "file"
    name = str(schema.get("type", "any"))
    low, high = schema.get("minimum"), schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f"{name}, {low:,} to {high:,}"
    return name if low is None else f"{name} from {low:,}"


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    target: Any = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**target, **{name: value for name, value in schema.items() if name != "$ref"}}
