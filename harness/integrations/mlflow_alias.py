"""The alias of a model in MLflow's registry, moved to the version that passed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from harness.errors import EndpointError, MissingDataError, UsageError

_TARGET = re.compile(r"(?P<model>.+)/(?P<version>[1-9]\d*)@(?P<alias>[^@/]+)")


@dataclass(frozen=True)
class MLflowAlias:
    """An alias, and the version it shall name.

    Parameters
    ----------
    model : str
        Registered model.
    version : str
        Its version.
    alias : str
        The alias ("champion").
    """

    model: str
    version: str
    alias: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read MODEL/VERSION@ALIAS."""
        found = _TARGET.fullmatch(text)
        if found is None:
            raise UsageError(
                f"--on-pass mlflow:{text}", "mlflow:MODEL/VERSION@ALIAS", "for example mlflow:chat-model/12@champion"
            )
        return cls(**found.groupdict())

    def check(self) -> None:
        """Raise `MissingDataError` if MLflow is not installed."""
        _mlflow()

    def promote(self, facts: Mapping[str, str]) -> str:
        """Set the alias at the server of ``MLFLOW_TRACKING_URI``, and tag the version with the decision.

        Raises
        ------
        EndpointError
            There is no such version, or the server refuses.
        """
        mlflow = _mlflow()
        try:
            client = mlflow.MlflowClient()
            client.get_model_version(self.model, self.version)
            before = client.get_registered_model(self.model).aliases.get(self.alias)
            for name, value in facts.items():
                client.set_model_version_tag(self.model, self.version, f"assay.{name}", value)
            client.set_registered_model_alias(self.model, self.alias, self.version)
        except mlflow.exceptions.MlflowException as error:
            raise EndpointError(
                f"MLflow: {error.message}",
                f"version {self.version} of the registered model {self.model}",
                "check MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI, and register the version first",
            ) from error
        was = f"; it was version {before}" if before is not None else ""
        return f"alias {self.alias} of {self.model} is version {self.version}{was}"


def _mlflow() -> Any:
    try:
        import mlflow
    except ImportError as error:
        raise MissingDataError("the package mlflow is not installed", remedy="pip install 'assay[mlflow]'") from error
    return mlflow
