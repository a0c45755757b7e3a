"""The error that a user can fix, which the command line prints as one message."""


class UserError(ValueError):
    """Something the user can fix; the message names the place and the remedy.

    The tools print it as one message without a traceback; in a program it is an
    ordinary `ValueError`.

    Example:
        >>> import paperzoo
        >>> from paperzoo.errors import UserError
        >>> try:
        ...     paperzoo.load_config('fcos_r50_fpm')
        ... except UserError as error:
        ...     print(str(error)[:21])
        config 'fcos_r50_fpm'
    """


class MissingOpError(UserError, NotImplementedError):
    """A compiled op of mmcv that is needed is neither installed nor stood in for."""


def check_choice(owner: str, name: str, value: object, choices: tuple) -> None:
    """Refuse a value that is none of the choices.

    Args:
        owner: What has the argument, as the user knows it.
        name: Of the argument.
        value: What the user gave.
        choices: What he may give.

    Raises:
        UserError: If `value` is none of the choices.

    Example:
        >>> try:
        ...     check_choice('CenternessLoss', 'reduction', 'avg', ('mean', 'sum'))
        ... except UserError as error:
        ...     print(error)
        CenternessLoss: reduction='avg': use 'mean' or 'sum'
    """
    if value not in choices:
        listed = ' or '.join(map(repr, choices))
        raise UserError(f'{owner}: {name}={value!r}: use {listed}')
