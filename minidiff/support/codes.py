"""Autoencoders as latent diffusion asks for them, one's own too: latent, f, encode(x) -> (mu, log_var), decode(z)."""

from torch import Tensor, nn

from minidiff.support import expect

NEEDED = ("latent", "f", "encode", "decode")


def complete(autoencoder: nn.Module) -> nn.Module:
    """`autoencoder` if it has all that is asked of it; TypeError if not."""
    if not isinstance(autoencoder, nn.Module) or not all(hasattr(autoencoder, name) for name in NEEDED):
        told = "expected a module with latent, f, encode(x) -> (mu, log_var) and decode(z), as `KLAutoencoder` has them"
        raise TypeError(f"autoencoder: got {type(autoencoder).__name__}, {told}")
    return autoencoder


def encoded(autoencoder, x: Tensor) -> Tensor:
    """mu of pictures x (B, C, H, W), (B, latent, H / f, W / f)."""
    both = autoencoder.encode(expect.tensor("x", x, "B C H W"))
    if not isinstance(both, tuple | list):  # the first row of a tensor would be taken for mu
        raise TypeError(f"autoencoder.encode(x): got {type(both).__name__}, expected a pair, (mu, log_var)")
    height, width = (side // autoencoder.f for side in x.shape[2:])
    return expect.tensor("autoencoder.encode(x)[0]", both[0], f"{len(x)} {autoencoder.latent} {height} {width}")


def decoded(autoencoder, z: Tensor) -> Tensor:
    """Pictures of codes z (B, latent, h, w), (B, C, f h, f w)."""
    height, width = (side * autoencoder.f for side in z.shape[2:])
    return expect.tensor("autoencoder.decode(z)", autoencoder.decode(z), f"{len(z)} C {height} {width}")
