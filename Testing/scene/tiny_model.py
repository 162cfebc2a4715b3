"""``python tiny_model.py FOLDER [SCHEME]``: write a tiny model with random weights there; needs torch."""

from __future__ import annotations

import sys
from pathlib import Path

CORE = Path(__file__).resolve().parents[2] / "MedDDPMCore"


def main(folder: Path, scheme: str = "brats") -> None:
    """Labels of a scheme to T1 and FLAIR on 16 x 24 x 16 voxels of 10 mm; reproducible weights, and a segmenter.

    With tissues it computes what an image shows beyond their means, in which white matter is bright and fluid dark.
    """
    import torch
    from medddpm.config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
    from medddpm.labels.scheme import load_scheme
    from medddpm.models.registry import save_model_folder
    from medddpm.models.segmenter import OWN_NAME, Segmenter, SegmenterConfig
    from medddpm.network.appearance import Look
    from medddpm.network.build import build_network

    torch.manual_seed(0)
    labels = load_scheme(scheme)
    told = bool(labels.tissue_values)
    config = ModelConfig(
        name="tiny",
        modalities=("T1", "FLAIR"),
        network=NetworkConfig(2, len(labels.labels), 16, (1, 2), 1, (), 1, 8, "residual" if told else "voxels"),
        schedule=ScheduleConfig(250, kind="flow", prediction="x0") if told else ScheduleConfig(steps=250),
        scheme=labels,
        grid=GridConfig((16, 24, 16), (10.0, 10.0, 10.0), "LPS"),
        sampler="ddpm" if told else "dpm++2m",
        sampler_steps=3,
    )
    network = build_network(config.network)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.05 * torch.randn_like(weights))
        if told:
            means = torch.tensor([-0.5, 0.3, 0.2, 0.0, -0.8, -0.8, 0.0, 0.1, 0.5, 0.0, 0.4])[:, None].repeat(1, 2)
            look = Look.plain(means)
            network.appearance.mean.copy_(
                torch.cat([look.means.flatten(), (look.spreads / 50).log().flatten(), look.scales.log()])
            )
    save_model_folder(folder, config, network.state_dict())
    regions = {"tumor_whole": 0.8, "tumor_core": 0.7, "tumor_enhancing": 0.6}
    grid = config.grid
    described = SegmenterConfig(tuple(regions), config.modalities, grid.spacing, grid.orientation, 2)
    segmenter = Segmenter(described, config, torch.device("cpu"), seed=3)
    segmenter.save(folder / OWN_NAME, real_dice=regions, real_cases=4)


if __name__ == "__main__":
    sys.path.insert(0, str(CORE))
    main(Path(sys.argv[1]), *sys.argv[2:])
