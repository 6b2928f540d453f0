"""What can go wrong, as exceptions. Each carries the C interface's status."""

from __future__ import annotations


class OctavoError(Exception):
    """Base of all of Octavo's errors. `status` is the octavo_status of the C interface, the text names file, tensor and rule."""

    status = -1

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        if status is not None:
            self.status = status


class InvalidArgumentError(OctavoError, ValueError):
    """A shape, dtype, option or name that the call does not take."""
    status = 1


class NotFoundError(OctavoError, KeyError):
    """No such file, module, tensor or embedded file."""
    status = 2

    def __str__(self) -> str:  # KeyError quotes its argument
        return Exception.__str__(self)


class PathNotFoundError(NotFoundError, FileNotFoundError):
    """No such file or folder."""


class AlreadyExistsError(OctavoError, FileExistsError):
    """The output is there, and overwriting was not asked for."""
    status = 3


class InputOutputError(OctavoError, OSError):
    """The system refused to read or write."""
    status = 4


class RefusedError(OctavoError):
    """What was asked would lose something: a NaN in a weight, a value beyond fp16."""
    status = 5


class LimitError(OctavoError):
    """Larger than this machine, or the format, allows."""
    status = 6


class UnsupportedError(OctavoError):
    """Not on this machine, or not in this build: a device, a CPU's instructions."""
    status = 7


class CancelledError(OctavoError):
    """The progress callback ended the work."""
    status = 8


class InvalidFileError(OctavoError):
    """The file breaks a rule of docs/format.md, or is no `.8vo` file."""
    status = 9


class NotIntactError(InvalidFileError):
    """A checksum does not match."""
    status = 10


class NewerFormatError(InvalidFileError):
    """The file needs a newer version of Octavo."""
    status = 11


class OutOfMemoryError(OctavoError, MemoryError):
    """No memory."""
    status = 12


BY_STATUS: dict[int, type[OctavoError]] = {
    kind.status: kind
    for kind in (InvalidArgumentError, NotFoundError, AlreadyExistsError, InputOutputError, RefusedError, LimitError, UnsupportedError,
                 CancelledError, InvalidFileError, NotIntactError, NewerFormatError, OutOfMemoryError)
}
