"""Errors that come in a group, as task groups raise them. What an error means is its catcher's concern."""


def first_of(error: BaseException) -> BaseException:
    """The first error in a group, however deep it lies; any other error is its own."""
    return first_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
