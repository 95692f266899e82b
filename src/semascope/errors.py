"""Every error that a user can cause, in one tree.

* SemascopeError                 the base: its message is a sentence that says what to do
  * SubjectError                 the model under the microscope
    + ModelNotFound              no model by that name, here or at a hub
    + SiteNotFound               no such hook point; the message lists those that exist
    + GeometryUnknown            no adapter says where this processor's image tokens look
  * CorpusError                  what the model reads
    + NoImages                   pictures were asked for, and the corpus has none
  * DictionaryError              SAEs, transcoders, neurons
    + FormatError                a checkpoint that cannot be read: cut short, unknown, a pickle
    + NotFinite                  NaN or infinity in activations or weights
  * EvidenceError                what features respond to
  * AtlasError                   the database of what is known
    + AtlasTooNew                written by a later version of semascope
  * ExplainError                 putting features into words
    + ServerUnreachable          no LMM server answers at the address given
  * CausalError                  attribution and steering
    + Conflict                   two interventions meet on one feature and one token
  * WorkspaceError               the folder that holds a run
    + DiskFull                   no room left; what was written before is whole
  * ServeError                   the page and the HTTP interface
    + NotThere                   no feature, picture or session by that name
    + TooMuch                    more was sent, or asked at once, than the server takes
    + TooLong                a prompt that the model cannot read to its end
    + BadPicture                 bytes that are not a picture that can be decoded safely

Nothing here knows any other module. The command line prints the message of a
SemascopeError without a traceback and exits with its ``exit_code``.
"""


class SemascopeError(Exception):
    """Base of every error whose message is meant for the user."""

    exit_code = 2


class SubjectError(SemascopeError):
    """The model under the microscope."""


class ModelNotFound(SubjectError):
    """No model by that name."""


class SiteNotFound(SubjectError):
    """No such hook point in this model."""


class GeometryUnknown(SubjectError):
    """No adapter says where this processor's image tokens look."""


class CorpusError(SemascopeError):
    """What the model reads."""


class NoImages(CorpusError):
    """Pictures were asked for, and the corpus has none."""


class DictionaryError(SemascopeError):
    """SAEs, transcoders, neurons, directions."""


class FormatError(DictionaryError):
    """A checkpoint that cannot be read."""


class NotFinite(DictionaryError):
    """NaN or infinity where a number was expected."""


class EvidenceError(SemascopeError):
    """What features respond to."""


class AtlasError(SemascopeError):
    """The database of what is known."""


class AtlasTooNew(AtlasError):
    """Written by a later version of semascope."""


class ExplainError(SemascopeError):
    """Putting features into words, and scoring the words."""


class ServerUnreachable(ExplainError):
    """No LMM server answers at the address given."""


class CausalError(SemascopeError):
    """Attribution, ablation, steering."""


class Conflict(CausalError):
    """Two interventions meet on one feature and one token."""


class WorkspaceError(SemascopeError):
    """The folder that holds a run."""


class DiskFull(WorkspaceError):
    """No room left on the device."""


class ServeError(SemascopeError):
    """The page and the HTTP interface."""


class NotThere(ServeError):
    """No feature, picture or session by that name."""


class TooMuch(ServeError):
    """More was sent, or asked at once, than the server takes."""


class TooLong(ServeError):
    """A prompt of more tokens than the model reads."""


class BadPicture(ServeError):
    """Bytes that are not a picture that can be decoded safely."""
