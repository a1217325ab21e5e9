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

    original, tree = _meaning(source), _kept(source)
    for name in sorted(plugins.operator_names()):
        if re.fullmatch(pattern, name.removeprefix("core/")):
            for occurrence, text in enumerate(_by(name, source, tree)):
                meaning = _meaning(text)
                if meaning and meaning != original:
                    line, before, after = _difference(source, text)
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


def _meaning(source: str) -> str:
    """What a text does, whatever its functions' annotations say; empty where it is no Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                argument.annotation = None
    return ast.dump(tree)


def _difference(before: str, after: str) -> tuple[int, str, str]:
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    return next(((n, a.strip(), b.strip()) for n, (a, b) in enumerate(pairs, 1) if a != b), (0, "", ""))
