"""JSON Schemas of typed values (https://json-schema.org, draft 2020-12), made from their types by msgspec."""

from __future__ import annotations

from typing import Any

from ponas_deploy.files.documents import Format

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(*kinds: Any) -> dict[str, Any]:
    """The JSON Schema of a value of one of these types (dataclasses); more than one become `anyOf`."""
    import msgspec

    found, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    if len(kinds) > 1:
        return {"$schema": DIALECT, "anyOf": list(found), "$defs": definitions}
    top = found[0]["$ref"].removeprefix("#/$defs/")
    schema = {"$schema": DIALECT, **definitions.pop(top)}
    return {**schema, "$defs": definitions} if definitions else schema


def document_schema(kind: Format[Any]) -> dict[str, Any]:
    """The JSON Schema of a document of the newest version of a format; `format` is its first key."""
    schema = schema_of(kind.type)
    schema["properties"] = {"format": {"type": "string", "const": kind.tag}, **schema["properties"]}
    schema["required"] = ["format", *schema.get("required", [])]
    return schema
