"""What every diffusion model shares, whatever it draws: noise levels, sampling, and one way to train."""
