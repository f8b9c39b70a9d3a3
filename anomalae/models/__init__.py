"""Networks: what is trained. By contract, see `base`; `build(settings)` is the one way to get one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.models.autoencoder import Autoencoder as Autoencoder
    from anomalae.models.auxiliary import AuxiliaryVAE as AuxiliaryVAE
    from anomalae.models.base import DensityNetwork as DensityNetwork
    from anomalae.models.base import Network as Network
    from anomalae.models.base import build as build
    from anomalae.models.base import networks as networks
    from anomalae.models.ladder import LadderVAE as LadderVAE
    from anomalae.models.vae import VariationalAutoencoder as VariationalAutoencoder

_HOMES = {
    "Autoencoder": "anomalae.models.autoencoder",
    "AuxiliaryVAE": "anomalae.models.auxiliary",
    "DensityNetwork": "anomalae.models.base",
    "LadderVAE": "anomalae.models.ladder",
    "Network": "anomalae.models.base",
    "VariationalAutoencoder": "anomalae.models.vae",
    "build": "anomalae.models.base",
    "networks": "anomalae.models.base",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
