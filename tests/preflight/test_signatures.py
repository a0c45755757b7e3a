"""Which arguments a class takes, through `**kwargs` and decorators."""

import functools
from typing import Any

from paperzoo.preflight.signatures import accepted_arguments, mentions


class Base:
    def __init__(self, first: int, second: int = 0) -> None: ...


class Forwards(Base):
    def __init__(self, *args: Any, third: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class Keeps(Base):
    def __init__(self, third: int = 0, **kwargs: Any) -> None:
        self.rest = kwargs
        super().__init__(**kwargs)


class Leaps(Forwards):
    def __init__(self, fourth: int = 0, **kwargs: Any) -> None:
        super(Forwards, self).__init__(**kwargs)


class Drops(Base):
    def __init__(self, **kwargs: Any) -> None:
        part = kwargs['part']
        super().__init__(part.pop('taken_out'))


class Plain:
    pass


class Made:
    def __new__(cls, **kwargs: Any) -> 'Made':
        return super().__new__(cls)


def renamed(function: Any) -> Any:
    @functools.wraps(function)
    def inner(*args: Any, old: int = 0, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


class Decorated:
    @renamed
    def __init__(self, new: int) -> None: ...


def function(a: int, *, b: int) -> None: ...


def test_what_is_known() -> None:
    assert accepted_arguments(Base) == {'first', 'second'}
    assert accepted_arguments(Forwards) == {'first', 'second', 'third'}
    assert accepted_arguments(Plain) == set()
    assert accepted_arguments(function) == {'a', 'b'}


def test_what_cannot_be_known() -> None:
    for built in (Keeps, Leaps, Drops, Decorated, Made, dict):
        assert accepted_arguments(built) is None


def test_a_class_that_takes_an_argument_out_of_a_part() -> None:
    assert mentions(Drops, 'taken_out')
    assert not mentions(Base, 'taken_out')
