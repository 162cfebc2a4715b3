"""The Med-DDPM 3D U-Net and its fast inference form."""
