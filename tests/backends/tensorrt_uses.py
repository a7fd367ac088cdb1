"""Which names of TensorRT and of CUDA our files use, read from the files themselves.

Types come from what is written: `trt.Builder(...)` is a Builder, what its methods return stands in the
bindings' docstrings (`tensorrt_names.py`), and parameters, results and attributes are annotated.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BACKENDS = Path(__file__).resolve().parents[2] / "ponas_deploy" / "backends"
FILES = tuple(
    BACKENDS / f"{name}.py"
    for name in (
        "_cuda",
        "_gpu_protocol",
        "_tensorrt_build",
        "_tensorrt_builder",
        "_tensorrt_files",
        "_tensorrt_library",
        "_tensorrt_progress",
        "_tensorrt_session",
        "tensorrt",
    )
)
_MODULE = "module"
ONLY_FOR_RTX = ("ComputeCapability",)
"""Names that TensorRT for RTX alone has: `test_tensorrt_rtx.py` uses the real ones."""


@dataclass(frozen=True)
class Use:
    """`owner.member`, the owner empty for a name of the module; how it is called, and whether by getattr."""

    owner: str
    member: str
    place: str
    keywords: tuple[str, ...] = ()
    arguments: int | None = None
    guarded: bool = False
    overrides: bool = False

    @property
    def name(self) -> str:
        return f"{self.owner}.{self.member}".lstrip(".")


class Gatherer:
    """Walks the files and collects the uses; `names` are those of the newest bindings."""

    def __init__(self, names: dict[str, Any], sources: dict[str, str]) -> None:
        self._names = names
        self.uses: list[Use] = []
        trees = {place: ast.parse(source) for place, source in sources.items()}
        nodes = [node for tree in trees.values() for node in ast.walk(tree)]
        self._attributes = dict(filter(None, map(_annotated_attribute, nodes)))
        self._results = {
            node.name: found
            for node in nodes
            if isinstance(node, ast.FunctionDef) and (found := _annotation(node.returns))
        }
        for self._place, tree in trees.items():
            self._block(tree.body, {})

    def _block(self, body: Sequence[ast.stmt], known: dict[str, str]) -> None:
        for statement in body:
            self._statement(statement, known)

    def _statement(self, node: ast.stmt, known: dict[str, str]) -> None:
        if isinstance(node, ast.FunctionDef):
            every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            inside = {one.arg: found for one in every if (found := _annotation(one.annotation))}
            self._annotations(node)
            self._block(node.body, {**known, **inside})
        elif isinstance(node, ast.ClassDef):
            for base in node.bases:
                if isinstance(base, ast.Attribute) and _is_module(base.value):
                    self._add("", base.attr, base)
                    self._overrides(node, base.attr)
            self._block(node.body, known)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            found = self._type(node.value, known)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    known[target.id] = found or ""
                else:
                    self._type(target, known)
        else:
            for field in ast.iter_child_nodes(node):
                self._any(field, known)

    def _any(self, node: ast.AST, known: dict[str, str]) -> None:
        if isinstance(node, ast.stmt):
            self._statement(node, known)
        elif isinstance(node, ast.expr):
            self._type(node, known)
        else:
            for child in ast.iter_child_nodes(node):
                self._any(child, known)

    def _type(self, node: ast.AST, known: dict[str, str]) -> str:
        """The class of an expression's value, "type X" for the class itself, "" for anything else."""
        if _is_module(node):
            return _MODULE
        if isinstance(node, ast.Name):
            return known.get(node.id, "")
        if isinstance(node, ast.Attribute):
            return self._member(node, self._type(node.value, known))
        if isinstance(node, ast.Call):
            return self._call(node, known)
        for child in ast.iter_child_nodes(node):
            self._any(child, known)
        return ""

    def _member(self, node: ast.Attribute, owner: str, **called: Any) -> str:
        if owner == _MODULE:
            self._add("", node.attr, node, **called)
            return f"type {node.attr}"
        if owner and not node.attr.startswith("_"):
            self._add(owner.removeprefix("type "), node.attr, node, **called)
            return ""
        return self._attributes.get(node.attr, "")

    def _call(self, node: ast.Call, known: dict[str, str]) -> str:
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            self._type(argument, known)
        called: dict[str, Any] = {
            "keywords": tuple(keyword.arg or "**" for keyword in node.keywords),
            "arguments": len(node.args),
        }
        function = node.func
        if isinstance(function, ast.Attribute):
            owner = self._type(function.value, known)
            self._member(function, owner, **called)
            if owner == _MODULE:
                return function.attr
            if not owner:
                return self._results.get(function.attr, "")
            returns = (self._names.get(owner, {}).get(function.attr) or {}).get("returns")
            return returns if returns in self._names else ""
        if isinstance(function, ast.Name) and function.id == "getattr":
            owner, name = self._type(node.args[0], known), node.args[1]
            if owner and isinstance(name, ast.Constant) and isinstance(name.value, str):
                bare = "" if owner == _MODULE else owner.removeprefix("type ")
                self._add(bare, name.value, node, guarded=len(node.args) == 3)
            return ""
        if isinstance(function, ast.Name):
            return self._results.get(function.id, "")
        self._type(function, known)
        return ""

    def _overrides(self, node: ast.ClassDef, base: str) -> None:
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                arguments = len(method.args.args) - 1
                self._add(base, method.name, method, arguments=arguments, overrides=True)

    def _annotations(self, node: ast.FunctionDef) -> None:
        every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        for written in (node.returns, *(one.annotation for one in every)):
            for part in ast.walk(written) if written is not None else ():
                if isinstance(part, ast.Attribute) and _is_module(part.value):
                    self._add("", part.attr, part)

    def _add(self, owner: str, member: str, node: ast.AST, **more: Any) -> None:
        self.uses.append(Use(owner, member, f"{self._place}:{getattr(node, 'lineno', 0)}", **more))


def faults(use: Use, names: dict[str, Any], version: str) -> Iterator[str]:
    """What is wrong with a use in the bindings of one version."""
    if use.name.split(".")[0] in ONLY_FOR_RTX:
        return
    entry = names.get(use.member) if not use.owner else names.get(use.owner, {}).get(use.member)
    if entry is None:
        if not use.guarded and not (use.owner and use.owner not in names):
            yield f"{use.place}: TensorRT {version} has no {use.name}"
        return
    is_class = not use.owner and "arguments" not in entry
    takes = entry.get("__init__", {}).get("arguments") if is_class else entry["arguments"]
    if use.arguments is None or takes is None:
        return
    given = use.arguments + len(use.keywords)
    if given > len(takes) or (use.overrides and given != len(takes)):
        yield f"{use.place}: {use.name} of TensorRT {version} takes {takes}, not {given} arguments"
    for keyword in set(use.keywords) - set(takes):
        yield f"{use.place}: {use.name} of TensorRT {version} has no argument '{keyword}'"


def every_name(names: dict[str, Any]) -> set[str]:
    """All names of the bindings, of classes and of their members."""
    return {one for name, entry in names.items() for one in (name, *entry)} - {"arguments", "returns"}


def identifiers(sources: dict[str, str]) -> dict[str, str]:
    """Every attribute that our files name, with a place; those in getattr left out."""
    return {
        node.attr: f"{place}:{node.lineno}"
        for place, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
    }


def sources() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in FILES}


@dataclass(frozen=True)
class CudaUse:
    """A name of `cuda.bindings.runtime`, with how many arguments it is called where that can be seen."""

    name: str
    place: str
    arguments: int | None = None


def cuda_uses() -> Iterator[CudaUse]:
    """Names that begin with `cuda`: called directly, or given to `Cuda.call(what, function, *arguments)`."""
    for place, source in sources().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and _is_cuda(node):
                owner = f"{node.value.attr}." if isinstance(node.value, ast.Attribute) else ""
                owner = owner if owner.startswith("cuda") else ""
                yield CudaUse(owner + node.attr, f"{place}:{node.lineno}")
            if isinstance(node, ast.Call) and not any(isinstance(one, ast.Starred) for one in node.args):
                if _is_cuda(node.func):
                    yield CudaUse(node.func.attr, f"{place}:{node.lineno}", len(node.args))
                elif len(node.args) > 1 and _is_cuda(node.args[1]):
                    yield CudaUse(node.args[1].attr, f"{place}:{node.lineno}", len(node.args) - 2)


def _is_cuda(node: Any) -> bool:
    return isinstance(node, ast.Attribute) and node.attr.startswith("cuda") and len(node.attr) > len("cuda")


def _is_module(node: ast.AST) -> bool:
    """`trt`, or what `Library.load()` returns; `load` of a backend takes arguments."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr == "load" and not node.args and not node.keywords
    return isinstance(node, ast.Name) and node.id == "trt"


def _annotation(node: ast.expr | None) -> str:
    """The class X of an annotation `trt.X`, also within `| None`; no deeper, as in `trt.X.Y`."""
    for part in ast.walk(node) if node is not None else ():
        if isinstance(part, ast.Attribute) and _is_module(part.value):
            return part.attr
    return ""


def _annotated_attribute(node: ast.AST) -> tuple[str, str] | None:
    """`self._engine: trt.ICudaEngine = ...`, or a field of a dataclass."""
    if not isinstance(node, ast.AnnAssign) or not (found := _annotation(node.annotation)):
        return None
    target = node.target
    name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
    return name, found
