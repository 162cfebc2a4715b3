"""``python tiny_model.py FOLDER``: write a tiny model with random weights there; needs torch."""

from __future__ import annotations

import sys
from pathlib import Path

CORE = Path(__file__).resolve().parents[2] / "MedDDPMCore"


def main(folder: Path) -> None:
    """BraTS labels to T1 and FLAIR on 16 x 24 x 16 voxels of 10 mm; reproducible weights."""
    import torch
    from medddpm.config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
    from medddpm.labels.scheme import load_scheme
    from medddpm.models.folder import save_model_folder
    from medddpm.network.unet import UNet3D

    torch.manual_seed(0)
    config = ModelConfig(
        name="tiny",
        modalities=("T1", "FLAIR"),
        network=NetworkConfig(2, 4, 16, (1, 2), 1, (), 1, 8),
        schedule=ScheduleConfig(steps=250),
        scheme=load_scheme("brats"),
        grid=GridConfig((16, 24, 16), (10.0, 10.0, 10.0), "LPS"),
        sampler="dpm++2m",
        sampler_steps=3,
    )
    network = UNet3D(config.network)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.05 * torch.randn_like(weights))
    save_model_folder(folder, config, network.state_dict())


if __name__ == "__main__":
    sys.path.insert(0, str(CORE))
    main(Path(sys.argv[1]))
