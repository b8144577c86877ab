"""What a director refuses, with the numbers and HTTP statuses of BOSH (`errors.rb`)."""

from __future__ import annotations

from typing import ClassVar

from rollover.errors import RolloverError


class DirectorError(RolloverError):
    """Something the director will not or cannot do; `number` and `status` are what clients see."""

    code = "bosh-director"
    number: ClassVar[int] = 100
    status: ClassVar[int] = 500


class TaskNotFound(DirectorError):
    """No task has this number."""

    number, status = 10000, 404


class TaskCancelled(DirectorError):
    """Somebody cancelled the task that is running."""

    number, status = 10001, 200


class InvalidValue(DirectorError):
    """A parameter has a value that it cannot have."""

    number, status = 40005, 400


class FieldMissing(DirectorError):
    """A manifest lacks what every manifest has."""

    number, status = 40001, 400


class DeploymentNotFound(DirectorError):
    """No deployment has this name."""

    number, status = 70000, 404


class InstanceNotFound(DirectorError):
    """No instance has this group and id."""

    number, status = 70001, 404


class InvalidIndex(DirectorError):
    """Neither an index nor the id of an instance."""

    number, status = 70002, 400


class ContextTooLong(DirectorError):
    """The `X-Bosh-Context-Id` of a request is too long."""

    number, status = 70010, 400


class InstanceIgnored(DirectorError):
    """Somebody wants to change the state of an ignored instance."""

    number, status = 140021, 400


class IgnoredInModification(DirectorError):
    """An action on an ignored instance."""

    number, status = 190020, 400


class IgnoredInDeletion(DirectorError):
    """A deployment or group with ignored instances cannot be deleted."""

    number, status = 190021, 400


class CertificateGenerationFailed(DirectorError):
    """The CA that signs agents' certificates cannot sign."""

    number, status = 190023, 400


class InvalidConfigReference(DirectorError):
    """A deploy names configs that do not exist."""

    number, status = 190025, 400


class UnknownStemcell(DirectorError):
    """A group names a stemcell that the manifest does not list."""

    number, status = 140005, 400


class JobNotRunning(DirectorError):
    """An instance's jobs did not come up in time."""

    number, status = 400007, 400


class ResurrectionPaused(DirectorError):
    """The resurrector may not act now."""

    number, status = 410004, 400


class BadManifest(DirectorError):
    """There is no manifest, or it is none."""

    number, status = 440001, 400


class BadConfigRequest(DirectorError):
    """A request about configs lacks something."""

    number, status = 440010, 400


class BadConfig(DirectorError):
    """The content of a config is no map."""

    number, status = 440011, 400


class ConfigNotFound(DirectorError):
    """No config has this id."""

    number, status = 440012, 404


class RemoteException(DirectorError):
    """An agent answered with an exception."""

    number, status = 450001, 400


class RpcTimeout(DirectorError):
    """An agent did not answer in time."""

    number, status = 450002, 400


class ErrandFailed(DirectorError):
    """An errand cannot be run."""

    number, status = 510000, 400


class OutputUnknown(DirectorError):
    """A task has no output of this type."""

    number, status = 600000, 401


class InvalidYaml(DirectorError):
    """A body is no YAML."""

    number, status = 710000, 400


class InvalidJson(DirectorError):
    """A body is no JSON, or not the JSON that is asked for."""

    number, status = 710001, 400


class LockBusy(DirectorError):
    """Another task holds the lock; a plain error to clients, number 100."""


def as_director_error(error: Exception) -> DirectorError:
    """Return an error as the director shows it: its own ones as they are, others as number 100."""
    if isinstance(error, DirectorError):
        return error
    text = error.message if isinstance(error, RolloverError) else str(error)
    return DirectorError(text or type(error).__name__)
