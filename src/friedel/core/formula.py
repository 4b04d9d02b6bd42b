"""Formulas that users write: arithmetic on named values, evaluated without ever being run as a program.

A formula is one expression in Python's notation of numbers, names, ``+ - * / // % **``, comparisons, ``& | ~`` of
conditions, and calls of the functions in `FUNCTIONS`. Nothing else is understood: no attributes, no indices, no
assignments, no other calls. All arithmetic is that of float64 arrays, so no formula can ask for more time or memory
than its values take: ``9**9**9`` is infinite at once. Which arrays these are (numpy's, cupy's) is
for the caller to say.
"""

from __future__ import annotations

import ast
import difflib
import functools
import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NoReturn

from .errors import ParameterError

LONGEST = 1000
"""Characters of a formula."""

DEEPEST = 50
"""Operations inside one another."""

CONSTANTS: dict[str, float] = {"pi": math.pi, "inf": math.inf, "nan": math.nan}
"""Names with a value; a value given under the same name goes first."""

_ONE = (
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
    *("exp", "expm1", "log", "log10", "log1p", "log2", "sqrt", "cbrt"),
    *("abs", "sign", "floor", "ceil", "radians", "degrees", "deg2rad", "rad2deg"),
)
_TWO = ("arctan2", "hypot", "minimum", "maximum")

FUNCTIONS: dict[str, int] = dict.fromkeys(_ONE, 1) | dict.fromkeys(_TWO, 2) | {"where": 3}
"""What a formula can call, with the number of arguments: numpy's functions, ``where(condition, if_true, if_false)``."""

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.FloorDiv: "floor_divide",
    ast.Mod: "mod",
    ast.Pow: "power",
    ast.BitAnd: "logical_and",
    ast.BitOr: "logical_or",
}
_UNARY: dict[type[ast.unaryop], str] = {ast.UAdd: "positive", ast.USub: "negative", ast.Invert: "logical_not"}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}


@dataclass(frozen=True)
class Formula:
    """An expression that has been read and found to hold nothing but arithmetic. Picklable.

    Attributes
    ----------
    text : str
        The expression, like ``"scale * position + offset"``.
    names : tuple of str or None
        Names that it may use besides `CONSTANTS`; None allows any.
    variables : frozenset of str
        Names that it does use, and that have no value of their own.

    Raises
    ------
    ParameterError
        If the text is no such expression; the message says which part, and where it begins.

    Examples
    --------
    >>> import numpy
    >>> float(Formula("3 * q + 1", names=("q", "r")).evaluate({"q": 4.0}, numpy))
    13.0
    """

    text: str
    names: tuple[str, ...] | None = None
    variables: frozenset[str] = field(init=False, compare=False, repr=False)
    _used: frozenset[str] = field(init=False, compare=False, repr=False)
    _tree: ast.expr = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        tree = self._parsed()
        found: set[str] = set()
        self._check(tree, found, DEEPEST)
        object.__setattr__(self, "_tree", tree)
        object.__setattr__(self, "_used", frozenset(found))
        object.__setattr__(self, "variables", frozenset(found) - set(CONSTANTS))

    def evaluate(self, values: Mapping[str, Any], namespace: Any) -> Any:
        """Return the value of the formula for values of its names.

        Parameters
        ----------
        values : mapping of str to array-like
            Numbers or arrays, which are broadcast against one another.
        namespace : module
            The arrays' own: numpy, or cupy.

        Returns
        -------
        array of float64
            Of the shape that the arrays it uses have in common; infinite or NaN where there is no finite value.

        Raises
        ------
        ParameterError
            If a name has no value, or the arrays' shapes do not go together.
        """
        missing = sorted(self.variables - set(values))
        if missing:
            raise ParameterError(f"The formula {self.text!r} needs a value of {', '.join(missing)}.", "Give it.")
        known = {name: values[name] if name in values else CONSTANTS[name] for name in self._used}
        arrays = {name: namespace.asarray(value, namespace.float64) for name, value in known.items()}
        quiet = getattr(namespace, "errstate", None)
        try:
            with quiet(all="ignore") if quiet else nullcontext():
                return namespace.asarray(_value(self._tree, arrays, namespace), namespace.float64)
        except ValueError:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in sorted(arrays.items()))
            raise ParameterError(
                f"The formula {self.text!r} cannot join values of the shapes {shapes}.",
                "Give numbers, or arrays of one shape.",
            ) from None

    def _parsed(self) -> ast.expr:
        if len(self.text) > LONGEST:
            raise ParameterError(
                f"The formula {self.text[:40]!r}... has {len(self.text)} characters.",
                f"Write one of {LONGEST} characters at most.",
            )
        if not self.text.strip():
            raise ParameterError("The formula is empty.", "Write an expression, like 2 * q.")
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except SyntaxError as error:
            place = f" at character {error.offset}" if error.offset else ""
            raise ParameterError(
                f"The formula {self.text!r} cannot be read{place}: {error.msg}.", "Write it as in Python: 2 * q**2."
            ) from None
        except (ValueError, RecursionError, MemoryError):
            raise ParameterError(f"The formula {self.text!r} cannot be read.", "Write a simpler one.") from None

    def _check(self, node: ast.expr, found: set[str], depth: int) -> None:
        """Refuse all that is not in the tables above, and collect the names."""
        if depth <= 0:
            raise ParameterError(
                f"The formula {self.text!r} has more than {DEEPEST} operations inside one another.",
                "Write a simpler one.",
            )
        if isinstance(node, ast.Name):
            self._check_name(node, found)
        elif not _is_number(node):
            for operand in self._operands(node):
                self._check(operand, found, depth - 1)

    def _operands(self, node: ast.expr) -> Iterable[ast.expr]:
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return node.left, node.right
        if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
            return (node.operand,)
        if isinstance(node, ast.Compare) and all(type(operator) in _COMPARISONS for operator in node.ops):
            return node.left, *node.comparators
        if isinstance(node, ast.Call):
            return self._arguments(node)
        self._refuse(node, "is no arithmetic", "Use numbers, names, + - * / % **, comparisons and functions.")

    def _arguments(self, call: ast.Call) -> Iterable[ast.expr]:
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if name not in FUNCTIONS:
            self._refuse(call.func, "is no function of formulas", _suggestion(name, FUNCTIONS, "Functions"))
        if call.keywords or len(call.args) != FUNCTIONS[name]:
            self._refuse(call, "has the wrong arguments", f"{name} takes {FUNCTIONS[name]}.")
        return call.args

    def _check_name(self, node: ast.Name, found: set[str]) -> None:
        if node.id in FUNCTIONS and (self.names is None or node.id not in self.names):
            self._refuse(node, "is a function", f"Write {node.id}(...).")
        if self.names is not None and node.id not in self.names and node.id not in CONSTANTS:
            self._refuse(node, "is not known", _suggestion(node.id, (*self.names, *CONSTANTS), "Names"))
        found.add(node.id)

    def _refuse(self, node: ast.expr, problem: str, remedy: str) -> NoReturn:
        text = self.text.strip()
        part = ast.get_source_segment(text, node) or ""
        # The parser counts bytes in UTF-8.
        place = len(text.encode()[: node.col_offset].decode(errors="ignore")) + 1
        raise ParameterError(f"The formula {text!r}: {part!r} at character {place} {problem}.", remedy)


def _is_number(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, (int, float))
        and not isinstance(node.value, bool)
        and abs(node.value) < 1e308
    )


def _suggestion(name: str, known: Iterable[str], kind: str) -> str:
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, 1)
    return f"Did you mean {near[0]}?" if near else f"{kind}: {', '.join(names)}."


def _value(node: ast.expr, values: Mapping[str, Any], namespace: Any) -> Any:
    """Return the value of a part that `Formula._check` has let pass."""

    def call(name: str, *operands: ast.expr) -> Any:
        return getattr(namespace, name)(*(_value(operand, values, namespace) for operand in operands))

    match node:
        case ast.Constant(value=number):
            return namespace.asarray(number, namespace.float64)
        case ast.Name(id=name):
            return values[name]
        case ast.BinOp(left=left, op=operator, right=right):
            return call(_BINARY[type(operator)], left, right)
        case ast.UnaryOp(op=sign, operand=operand):
            return call(_UNARY[type(sign)], operand)
        case ast.Compare(left=left, ops=operators, comparators=others):
            pairs = zip(operators, (left, *others), others, strict=False)
            results = [call(_COMPARISONS[type(operator)], one, two) for operator, one, two in pairs]
            return functools.reduce(namespace.logical_and, results)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return call(name, *arguments)
    raise AssertionError(node)  # the check lets nothing else pass
