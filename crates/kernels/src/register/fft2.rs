//! Two-dimensional Fourier transforms of real images.
