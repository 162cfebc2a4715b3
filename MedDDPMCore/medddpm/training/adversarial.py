"""A GAN as one network with one optimizer: a generator together with all that it is trained against.

Generator and discriminators learn from the same forward pass, each from its own loss: the former's passes through
discriminators whose weights are held, the latter's sees made volumes detached. That is what two Adams of the same
settings do that step one after the other on the same made volumes; one of them resumes, averages and scales as any.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..config import ModelConfig
from ..network.build import Network, build_network
from ..network.gan import Discriminator, Generator
from .config import LossConfig

# What the trained network has beside its generator: no part of the model.
RIVALS = "rivals"


class Adversarial(Generator):
    """The generator of ``model`` with its ``rivals``: discriminators and, for DiscoGAN, the generator of masks.

    ``forward(x, t)`` makes images as the generator alone. ``forward(x, t, real)`` gives the loss of each volume, (B,):
    its gradient is that of all losses; its value is the distance to the real images alone, since that of a game between
    two networks tells nothing.
    """

    def __init__(self, model: ModelConfig, loss: LossConfig) -> None:
        network = model.network
        super().__init__(network)
        self._loss, self._values, self._images = loss, model.mask_values, network.image_channels
        images, masks = network.image_channels, network.mask_channels
        self.rivals = nn.ModuleDict()
        if network.domain == "pix2pix":
            self.rivals["images"] = Discriminator(images + masks, network)
        else:
            self.rivals["images"], self.rivals["masks"] = (Discriminator(n, network) for n in (images, masks))
            self.rivals["to_mask"] = Generator(network, images, masks)

    def forward(self, x: Tensor, t: Tensor, real: Tensor | None = None) -> Tensor:
        made = super().forward(x, t)
        if real is None:
            return made
        distance = self._distance(made, real)
        rest = (self._pix2pix if "to_mask" not in self.rivals else self._discogan)(made, real, x, t)
        return distance + rest - rest.detach()

    def _pix2pix(self, made: Tensor, real: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Isola et al. 2017, eq. 4: the discriminator sees the mask as well."""
        mask = x[:, self._images :]
        return self._game("images", torch.cat([made, mask], 1), torch.cat([real, mask], 1))

    def _discogan(self, made: Tensor, real: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Kim et al. 2017, eq. 7 to 9, with the distance of pairs: masks made of images, and both ways back."""
        off, on = self._values
        noise, mask = x.split([self._images, x.shape[1] - self._images], 1)
        mask = (mask - off) / (on - off) * 2 - 1
        to_mask = self.rivals["to_mask"]
        found = to_mask(real, t)
        again = super().forward(torch.cat([noise, off + (on - off) * (found + 1) / 2], 1), t)
        distances = ((found, mask), (again, real), (to_mask(made, t), mask))
        games = self._game("images", made, real) + self._game("masks", found, mask)
        return games + torch.stack([self._distance(*pair) for pair in distances]).sum(0)

    def _distance(self, made: Tensor, real: Tensor) -> Tensor:
        error = made.float() - real.float()
        return _mean(error.abs() if self._loss.kind == "l1" else error.square())

    def _game(self, name: str, made: Tensor, real: Tensor) -> Tensor:
        """Least squares (Mao et al. 2017): what the generator loses, weighted, and what the discriminator does."""
        critic = self.rivals[name]
        held = {key: value.detach() for key, value in critic.named_parameters()}
        fooled = functional_call(critic, held, (made,))
        seen, known = critic(made.detach()), critic(real)
        lost = _mean((fooled.float() - 1).square())
        return self._loss.adversarial * lost + (_mean(seen.float().square()) + _mean((known.float() - 1).square())) / 2


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def network_to_train(model: ModelConfig, loss: LossConfig) -> Network:
    """The network of a model with random weights, and with what only its training needs.

    Raises InputError where it is of another package and cannot be loaded.
    """
    return Adversarial(model, loss) if model.network.adversarial else build_network(model.network)


def trained_parameters(model: ModelConfig, loss: LossConfig) -> int:
    """How many numbers a training learns; costs no memory."""
    with torch.device("meta"):
        return sum(p.numel() for p in network_to_train(model, loss).parameters())
