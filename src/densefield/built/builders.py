"""What can be built, said once: a builder's signature is its description.

`@described()` marks a builder, a function or a class, with the name of its kind. From its signature (types, bounds,
defaults) and its docstring come the pydantic model that recipes and saved segmenters are checked by, the words in which
an object is saved, and what `densefield kinds` tells.
"""

from __future__ import annotations

import functools
import inspect
import json
import operator
import os
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, ParamSpec, TypeVar, Union

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo
from torch import Tensor, nn

from densefield.built.explained import explained
from densefield.checks import InputError, likely, one_line

P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B", bound=Callable[..., Any])
Builder = Callable[..., Any]

_KINDS: dict[Builder, str] = {}  # by what `described` has marked


class Built(NamedTuple):
    """The kind of the builder that made a module, and every argument it was given or took by default."""

    kind: str
    arguments: dict[str, Any]


def described(kind: str = "") -> Callable[[B], B]:
    """Mark a builder: a function, whose kind is its name, or a class, by `kind`.

    The modules that a function builds remember how (`built_by`). Objects of a class must have its arguments as
    attributes, with their present values.
    """

    def mark(builder: B) -> B:
        name = kind or builder.__name__
        if not isinstance(builder, type):
            builder = typing.cast("B", _remembering(builder, name))
        _KINDS[builder] = name
        return builder

    return mark


def _remembering(build: Callable[P, T], kind: str) -> Callable[P, T]:
    signature = inspect.signature(build)

    @functools.wraps(build)
    def builder(*args: P.args, **kwargs: P.kwargs) -> T:
        result = build(*args, **kwargs)
        if isinstance(result, nn.Module):
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            object.__setattr__(result, "built_by", Built(kind, dict(bound.arguments)))
        return result

    return builder


def built_by(module: nn.Module) -> Built | None:
    """How a described function built `module`, or None when none did."""
    built = getattr(module, "built_by", None)
    return built if isinstance(built, Built) else None


def kind_of(thing: object) -> str | None:
    """The kind of a builder, or of an object of exactly a described class; None for what is not described."""
    return _KINDS.get(thing if isinstance(thing, type | types.FunctionType) else type(thing))


def described_in(room: types.ModuleType) -> tuple[Builder, ...]:
    """The builders that a module names, its own and those it imports."""
    return tuple(each for each in vars(room).values() if isinstance(each, type | types.FunctionType) and kind_of(each))


def words_of(thing: object) -> dict[str, Any] | None:
    """An object as plain words, `kind` and the arguments that build it again; None for what no builder describes."""
    built = built_by(thing) if isinstance(thing, nn.Module) else None
    if built is None:
        kind = kind_of(thing)
        if kind is None or isinstance(thing, type | types.FunctionType):
            return None
        built = Built(kind, {name: getattr(thing, name) for name in inspect.signature(type(thing)).parameters})
    plain = {name: _plain(value) for name, value in built.arguments.items()}
    # A module that nothing describes comes from around the place, such as the trunk of the network in front.
    return {"kind": built.kind, **{name: value for name, value in plain.items() if not isinstance(value, nn.Module)}}


def _plain(value: Any) -> Any:
    """Tensors as numbers, described objects as words, sequences as tuples, which is what models want of Python."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_plain(each) for each in value)
    if isinstance(value, _Unchecked):
        return {"kind": value.kind, **(value.model_extra or {})}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return words_of(value) or value


class Words(BaseModel):
    """The arguments of one builder, checked: strict, frozen, and without room for unknown keys.

    Each kind's model has the fields of its builder's signature, and `kind` where several may stand.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)
    builder: ClassVar[Builder]
    given: ClassVar[tuple[str, ...]] = ()  # in the builder's order
    if TYPE_CHECKING:
        kind: str

    def build(self, *first: Any, **given: Any) -> Any:
        """Call the builder with these words, and with what it takes of what is `given` where they stand.

        What comes by place is given in the order of the builder's signature: `network.build(num_classes, in_channels)`.
        """
        names = type(self).given
        if len(first) > len(names):
            wanted = ", ".join(names) or "nothing"
            raise InputError(f"{kind_of(type(self).builder)}: wanted {wanted}, received {len(first)} values")
        given = {**dict(zip(names, first, strict=False)), **given}
        fields = {key: getattr(self, key) for key in type(self).model_fields if key != "kind"}
        written = {key: _built(value, given) for key, value in fields.items()}
        return type(self).builder(**{key: given[key] for key in names if key in given}, **written)


def _built(value: Any, given: Mapping[str, Any]) -> Any:
    if isinstance(value, Words):
        return value.build(**given)
    return tuple(_built(each, given) for each in value) if isinstance(value, tuple) else value


class _Unchecked(Words):
    """Words that no place has taken yet."""

    model_config = ConfigDict(extra="allow")
    kind: str

    def build(self, *first: Any, **given: Any) -> Any:
        raise InputError(f"words: those of {self.kind} are checked and built in a recipe; call {self.kind} itself")


def words(builder: Builder, **arguments: Any) -> Words:
    """Words for a recipe: `words(unet, padding="same")`; described objects among the arguments become words too.

    What is not said is the builder's default, or given by the place where the words stand, which also checks them.
    """
    kind = kind_of(builder)
    if kind is None:
        raise InputError(f"words: wanted a described builder, received {builder!r}")
    known = list(inspect.signature(builder).parameters)
    for name in arguments:
        if name not in known:
            raise InputError(f"words: {kind} takes no {name!r}{likely(name, known)} Wanted some of: {', '.join(known)}")
    return _Unchecked(kind=kind, **{name: _plain(value) for name, value in arguments.items()})


class Kinds:
    """What may stand at one place: builders, told apart by `kind`.

    `given` names arguments that come from around the place and are not written there. `places` says what may stand for
    an argument whose type alone does not tell it, such as the network inside a refinement. `usual` is meant where no
    kind is written. `of_files`: words that objects were saved in, which may have a class's own name for its kind, and
    any number that their builders take.
    """

    def __init__(
        self,
        builders: Sequence[Builder],
        *,
        given: Collection[str] = (),
        places: Mapping[str, Kinds] | None = None,
        usual: Builder | None = None,
        of_files: bool = False,
    ) -> None:
        self.builders = {str(kind_of(builder)): builder for builder in builders}
        self._given, self._places, self._usual = frozenset(given), places or {}, kind_of(usual)
        self._of_files = of_files
        classes = self.builders.items() if of_files else ()
        # Each name that a kind may be written by.
        self.names = {kind: kind for kind in self.builders} | {each.__name__: kind for kind, each in classes}

    @functools.cached_property
    def models(self) -> dict[str, type[Words]]:
        """The model of each kind."""
        return {
            kind: _model(builder, kind, self._given, self._places, self._of_files)
            for kind, builder in self.builders.items()
        }

    @functools.cached_property
    def annotation(self) -> Any:
        """The type of a pydantic field for this place."""

        def named(value: Any) -> Any:
            value = _plain(value)
            if isinstance(value, Mapping):
                kind = value.get("kind", self._usual)
                if isinstance(kind, str):
                    return {**value, "kind": self.names.get(kind, kind)}
            return value

        models = tuple(self.models.values())
        union = Annotated[_either(models), Field(discriminator="kind")] if len(models) > 1 else models[0]
        return Annotated[union, BeforeValidator(named)]

    @functools.cached_property
    def _adapter(self) -> TypeAdapter[Words]:
        return TypeAdapter(self.annotation)

    def read(self, plain: object, source: str) -> Words:
        """`plain` words, as JSON or YAML has them, checked; `InputError` in one line that begins with `source`."""
        try:
            return self._adapter.validate_json(json.dumps(plain))
        except ValidationError as error:
            raise InputError(f"{source}: {explained(error, self.annotation)}") from error

    def build(self, plain: object, source: str, **given: Any) -> Any:
        """Build what `plain` words say; every `InputError` begins with `source`."""
        chosen = self.read(plain, source)
        try:
            return chosen.build(**given)
        except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
            reason = one_line(error)
            raise InputError(f"{source}: {kind_of(chosen.builder)} does not accept its arguments ({reason})") from error


def _without_kind(kind: str | None) -> Callable[[Any], Any]:
    """Take out the kind, which need not be written where no other may stand."""

    def without(value: Any) -> Any:
        right = isinstance(value, Mapping) and value.get("kind") == kind
        return {key: each for key, each in value.items() if key != "kind"} if right else value

    return without


def _model(
    builder: Builder, kind: str | None, given: frozenset[str], places: Mapping[str, Kinds], of_files: bool
) -> type[Words]:
    """The model of a builder's words at a place; without `kind` where nothing else may stand there."""
    parameters = inspect.signature(builder).parameters
    signed: Any = vars(builder)["__init__"] if isinstance(builder, type) else builder
    hints = typing.get_type_hints(signed, include_extras=True)
    fields: dict[str, Any] = {} if kind is None else {"kind": (Literal[kind], kind)}
    for name, parameter in parameters.items():
        if name not in given:
            hint = places[name].annotation if name in places else _of_words(hints[name], of_files)
            default = parameter.default
            fields[name] = (hint, _unwritten(hint) if default is inspect.Parameter.empty else _plain(default))
    doc = inspect.getdoc(builder)
    model = create_model(f"{builder.__name__}_words", __base__=Words, __doc__=doc, **fields)
    model.builder, model.given = staticmethod(builder), tuple(name for name in parameters if name in given)
    return model


def _unwritten(hint: Any) -> Any:
    """What stands for a key without a default: the factory that its annotation names, or that it is needed."""
    factories = [each.default_factory for each in getattr(hint, "__metadata__", ()) if isinstance(each, FieldInfo)]
    return next((Field(default_factory=factory) for factory in factories if factory is not None), ...)


def _either(hints: Sequence[Any]) -> Any:
    return functools.reduce(operator.or_, hints)


def _of_words(hint: Any, of_files: bool) -> Any:
    """An argument's type as words have it: no tensors or paths, described classes by their models; bounds or none."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        plain = _of_words(parts[0], of_files)
        return plain if of_files else operator.getitem(typing.cast("Any", Annotated), (plain, *parts[1:]))
    if origin in (Union, types.UnionType):
        kinds = Kinds([part for part in parts if isinstance(part, type) and kind_of(part)], of_files=of_files)
        others = [
            _of_words(part, of_files) for part in parts if part not in kinds.builders.values() and part is not Tensor
        ]
        others = [part for part in others if part is not os.PathLike]
        return _either([*([kinds.annotation] if kinds.builders else []), *others])
    if origin is Sequence or hint is Sequence:
        return types.GenericAlias(tuple, (_of_words(parts[0], of_files), ...))
    if origin is os.PathLike:
        return os.PathLike
    if isinstance(hint, type) and kind_of(hint):
        return Annotated[_model(hint, None, frozenset(), {}, of_files), BeforeValidator(_without_kind(kind_of(hint)))]
    return hint
