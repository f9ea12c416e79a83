"""Which of the project's files a module may execute: a walk over its imports, lazy ones too, types alone left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("lsgmer", "serving", "flows")


def file_of(module: str) -> Path | None:
    """Return the file of one of our modules, None for anything else."""
    base = ROOT / Path(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, but for what stands under `if TYPE_CHECKING`, which never runs."""
    yield node
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        children = iter(node.orelse)
    for child in children:
        yield from walk(child)


def imported(file: Path) -> set[str]:
    """Return the dotted names that `file` imports, whoever's, and of `from a import b` both a and a.b."""
    found: set[str] = set()
    for node in walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def with_parents(module: str) -> set[str]:
    """Return the module and every package that it is in."""
    parts = module.split(".")
    return {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}


def closure(module: str) -> set[str]:
    """Return every file of ours that running `module` may execute, relative to the root."""
    seen: set[Path] = set()
    todo = [*with_parents(module)]
    while todo:
        file = file_of(todo.pop())
        if file and file not in seen:
            seen.add(file)
            todo += {part for name in imported(file) if name.split(".")[0] in OURS for part in with_parents(name)}
    return {file.relative_to(ROOT).as_posix() for file in seen}


def third_party(module: str) -> set[str]:
    """Return the top names of everything that is not ours and that `module` and its closure import."""
    names = {name.split(".")[0] for file in closure(module) for name in imported(ROOT / file)}
    return names - {*OURS}
