"""JSON Schema of the models that read YAML files, and a Markdown reference of their keys.

The comment beside a field, or the comment lines above it, is the field's description: it is read from the source when a
schema is written, so that it costs a command nothing. A class's docstring describes the class.
"""

from __future__ import annotations

import ast
import functools
import inspect
import io
import json
import textwrap
import tokenize
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(model: type[BaseModel], *, complete: bool = True) -> dict[str, Any]:
    """What a file may say that is read into `model`, as JSON Schema (draft 2020-12).

    `complete=False`: any field may be absent at any depth, as in a mapping that changes some fields of another.
    """
    schema = model.model_json_schema(by_alias=True)
    models = {m.__name__: m for m in _models(model)}
    for name, part in {model.__name__: schema, **schema.get("$defs", {})}.items():
        if name in models:
            _describe(part, models[name])
    for node in list(_nodes(schema)):
        _simplify(node)
        if not complete and isinstance(node.get("properties"), dict):
            node.pop("required", None)
    return {"$schema": _DIALECT, **schema}


def embed(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Adds the schema `part` to the definitions of `schema`; the reference to it there."""
    part = dict(part)
    part.pop("$schema", None)
    definitions = schema.setdefault("$defs", {})
    definitions.update(part.pop("$defs", {}))
    definitions[part["title"]] = part
    return {"$ref": f"#/$defs/{part['title']}"}


def dump(schema: dict[str, Any]) -> str:
    """The text of a schema file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """`model` and every model among the types of its fields, at any depth."""
    found, queue = set(), [model]
    while queue:
        current = queue.pop()
        if current in found:
            continue
        found.add(current)
        yield current
        types: list[Any] = [field.annotation for field in current.model_fields.values()]
        while types:
            annotation = types.pop()
            types += getattr(annotation, "__args__", ())
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                queue.append(annotation)


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every mapping inside a schema, the outermost first."""
    if isinstance(schema, dict):
        yield schema
    for child in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _nodes(child)


def _simplify(node: dict[str, Any]) -> None:
    """Leaves out titles of fields; patterns and pairs as every validator understands them."""
    properties = node.get("properties")
    for field in properties.values() if isinstance(properties, dict) else ():
        field.pop("title", None)
    if isinstance(node.get("pattern"), str):
        node["pattern"] = node["pattern"].replace(r"\z", "$")  # Rust's end of text
    keys = node.get("patternProperties")
    if isinstance(keys, dict):
        node["patternProperties"] = {pattern.replace(r"\z", "$"): value for pattern, value in keys.items()}
        node["additionalProperties"] = False
    items = node.get("prefixItems")
    if isinstance(items, list) and all(item == items[0] for item in items):
        node["items"] = node.pop("prefixItems")[0]


# ------------------------------------------------------------------------------------------------ comments of fields


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    descriptions = field_comments(model)
    for form in (schema, *schema.get("anyOf", [])):
        for name, field in model.model_fields.items():
            node = form.get("properties", {}).get(field.alias or name)
            if node is not None and descriptions.get(name):
                node["description"] = descriptions[name]
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])


@functools.cache
def field_comments(model: type[BaseModel]) -> dict[str, str]:
    """{field: the comment beside it, else the comment lines above it} of a model and its bases."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= _own_comments(base)
    return found


def _own_comments(model: type[BaseModel]) -> dict[str, str]:
    source = textwrap.dedent(inspect.getsource(model))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t for t in tokens if t.type == tokenize.COMMENT}
    lines = source.splitlines()
    (definition,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    found = {}
    for node in definition.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        beside = comments.get(node.end_lineno or node.lineno)
        above: list[str] = []
        line = node.lineno - 1
        while line in comments and lines[line - 1].lstrip().startswith("#"):
            above.insert(0, comments[line].string)
            line -= 1
        texts = [beside.string] if beside is not None else above
        if texts:
            found[node.target.id] = " ".join(text.lstrip("#").strip() for text in texts)
    return found


# ---------------------------------------------------------------------------------------------------- key reference


def reference(schema: dict[str, Any], heading: str, introduction: str) -> str:
    """The keys of a schema as a Markdown page: a section per mapping, with key, type, default and meaning."""
    lines = [f"# {heading}", "", introduction, ""]
    sections = _sections(schema)
    for title, node in sections.items():
        lines += [f"## {title}", "", *_prose(node.get("description", "")), ""]
        required = node.get("required", [])
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for key, field in node["properties"].items():
            default = "required" if key in required else _default(field)
            meaning = field.get("description") or _first_sentence(field, sections)
            meaning = meaning.replace("|", "\\|")
            lines.append(f"| `{key}` | {_type(field, sections)} | {default} | {meaning} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _sections(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{title: mapping with keys of its own}, in the order in which they are first named."""
    found: dict[str, dict[str, Any]] = {}
    if "properties" in schema:
        found[schema["title"]] = schema
    queue = [schema]
    while queue:
        for node in _nodes({k: v for k, v in queue.pop(0).items() if k != "$defs"}):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            target = schema.get("$defs", {}).get(name)
            if target is not None and name not in found:
                found[name] = _with_keys(target)
                queue.append(target)
    return {name: node for name, node in found.items() if "properties" in node}


def _with_keys(definition: dict[str, Any]) -> dict[str, Any]:
    """A mapping that has several forms as the one with most keys, of which those are required that all forms require."""
    forms = [form for form in definition.get("anyOf", []) if "properties" in form]
    if not forms:
        return definition
    required = set.intersection(*(set(form.get("required", [])) for form in forms))
    fullest = max(forms, key=lambda form: len(form["properties"]))
    return {**fullest, "required": sorted(required), "description": definition.get("description", "")}


def _prose(text: str) -> list[str]:
    """A docstring as Markdown: what is indented in it is code."""
    lines, code = [], False
    for line in text.splitlines():
        if line.startswith("    ") != code and line.strip():
            code = not code
            lines.append("```")
        lines.append(line.removeprefix("    ") if code else line)
    return lines + (["```"] if code else [])


def _first_sentence(field: dict[str, Any], sections: dict[str, dict[str, Any]]) -> str:
    """What the type of a field is for, where that is a mapping with a section of its own."""
    name = str(field.get("$ref") or field.get("items", {}).get("$ref") or "").rpartition("/")[2]
    text = sections.get(name, {}).get("description", "").replace("\n", " ")
    return text.partition(". ")[0].removesuffix(".")


def _default(field: dict[str, Any]) -> str:
    if not field.get("default"):  # nothing, or nothing to speak of
        return "`false`" if field.get("default") is False else "`0`" if field.get("default") == 0 else ""
    if isinstance(field["default"], dict):
        return ""  # the section of that type has the defaults
    text = json.dumps(field["default"], ensure_ascii=False)
    return f"`{text}`"


def _type(node: dict[str, Any], sections: dict[str, Any]) -> str:
    """A type in words: `text`, `integer > 0`, `list of number`, `mapping of Row`."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if name in sections else name
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_type(option, sections) for option in node["anyOf"]))
    if "enum" in node or "const" in node:
        return " or ".join(f"`{json.dumps(value)}`" for value in node.get("enum", [node.get("const")]))
    kind = node.get("type")
    if kind == "array":
        inner = _type(node["items"], sections) if isinstance(node.get("items"), dict) else "anything"
        count = f"{node['minItems']} × " if node.get("minItems") == node.get("maxItems", "") else ""
        return f"list of {count}{inner}"
    if kind == "object":
        values = node.get("additionalProperties")
        return f"mapping of {_type(values, sections)}" if isinstance(values, dict) and values else "mapping"
    words = {"string": "text", "boolean": "`true` or `false`", None: "anything"}
    limits = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    bounds = [f"{sign} {node[limit]:g}" for limit, sign in limits.items() if limit in node]
    return " ".join([words.get(kind, str(kind)), ", ".join(bounds)]).strip()
