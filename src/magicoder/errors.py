"""Errors that a user can act on: each says what happened, where, and what to do.

MagicoderError (ValueError)
├── RecipeError        the recipe or the command line asks for something impossible         exit code 2
├── CorpusError        a source of code cannot be read                                      exit code 2
├── BenchmarkError     benchmark files are missing or malformed                             exit code 2
├── StoreError         a run folder is busy, from another version, or cannot be written     exit code 3
├── TeacherError       the LLM endpoint refuses or is down; nothing paid for is lost        exit code 4
├── OverBudget         the money was spent before everything was asked                      exit code 5
└── Interrupted         the user asked to stop; everything answered is kept                  exit code 130
Unusable (Exception)   raised by a strategy: this seed gives no sample, and why
"""


class MagicoderError(ValueError):
    """A failure that the user can mend; printed as one message without a traceback."""

    exit_code = 1


class RecipeError(MagicoderError):
    """The recipe or the command line asks for something impossible."""

    exit_code = 2


class CorpusError(MagicoderError):
    """A source of code cannot be read at all (a single bad file is a Rejection instead)."""

    exit_code = 2


class BenchmarkError(MagicoderError):
    """Benchmark files are missing or malformed."""

    exit_code = 2


class StoreError(MagicoderError):
    """A run folder is busy, was written by another version, or cannot be written."""

    exit_code = 3


class TeacherError(MagicoderError):
    """The endpoint refuses every request or is down. Every answer received so far is in the journal."""

    exit_code = 4


class OverBudget(MagicoderError):  # noqa: N818 - not an error, an end
    """The budget has no room for all that is to be asked. What was answered is kept."""

    exit_code = 5


class SandboxError(MagicoderError):
    """Programs cannot be run safely here, or the sandbox itself broke; no program is judged by that."""

    exit_code = 3


class Interrupted(MagicoderError):  # noqa: N818 - not an error, an end
    """The user asked to stop. Everything finished or answered is kept; the same command goes on."""

    exit_code = 130


class Unusable(Exception):  # noqa: N818 - a verdict on a seed, not an error of the program
    """A seed gives no sample. `reason` is a word for a table, `text` the raw answer, kept for the user.

    `retryable`: the teacher gave no answer, and asking again may help.
    """

    def __init__(self, reason: str, detail: str = "", text: str = "", *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.text = text
        self.retryable = retryable
