"""What all groups of settings have in common."""

from pydantic import BaseModel, ConfigDict


class SettingsGroup(BaseModel):
    """Settings with one beginning of their names; an unknown one is an error, and none changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
