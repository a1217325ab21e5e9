"""Which mutants there are of a module: the operators are those of cosmic-ray, which stays in here. Pure."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from typing import NamedTuple


class Mutant(NamedTuple):
    """One change of one module: the ``occurrence``-th place at which the operator finds something to change."""

    module: str
    operator: str
    occurrence: int


class Made(NamedTuple):
    """A mutant's text and where it differs."""

    mutant: Mutant
    line: int
    before: str
    after: str
    source: str


def mutants(module: str, source: str, pattern: str) -> Iterator[Made]:
    """All mutants of a module by the operators whose names ``pattern`` matches, but for those that are its twins."""
    from cosmic_ray import plugins

    original, tree, annotated = _meaning(source), _kept(source), _annotated(source)
    for name in sorted(plugins.operator_names()):
        if re.fullmatch(pattern, name.removeprefix("core/")):
            for occurrence, text in enumerate(_by(name, source, tree)):
                line, before, after = _difference(source, text)
                if _other(text, original) if line in annotated else line and _compiles(text):
                    yield Made(Mutant(module, name.removeprefix("core/"), occurrence), line, before, after, text)


def _kept(source: str) -> bytes:
    """The tree of a module. A mutation spoils it, and to read it back takes a fifth of parsing it again."""
    from cosmic_ray.ast import get_ast

    return pickle.dumps(get_ast(source), -1)


def _by(name: str, source: str, kept: bytes) -> Iterator[str]:
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes
    from cosmic_ray.mutating import MutationVisitor

    operator = plugins.get_operator(name)()
    tree = pickle.loads(kept)  # noqa: S301 - our own
    for occurrence in range(sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(tree))):
        visitor = MutationVisitor(occurrence, operator)
        try:
            made = visitor.walk(pickle.loads(kept))  # noqa: S301
        except AttributeError:  # ExceptionReplacer does not know `except (A, *B)`
            yield source
        else:
            yield made.get_code() if visitor.mutation_applied else source


def _compiles(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _other(text: str, original: str) -> bool:
    return _compiles(text) and _meaning(text) != original


def _meaning(source: str) -> str:
    """What a text does, whatever its functions' annotations say."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in _arguments(node):
                argument.annotation = None
    return ast.dump(tree)


def _annotated(source: str) -> set[int]:
    """The lines on which a function's annotations stand: a difference there may be none."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    found = [a for f in functions for a in (f.returns, *(x.annotation for x in _arguments(f))) if a is not None]
    return {line for a in found for line in range(a.lineno, (a.end_lineno or a.lineno) + 1)}


def _arguments(function: ast.FunctionDef) -> tuple[ast.arg, ...]:
    return (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)


def _difference(before: str, after: str) -> tuple[int, str, str]:
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    return next(((n, a.strip(), b.strip()) for n, (a, b) in enumerate(pairs, 1) if a != b), (0, "", ""))
