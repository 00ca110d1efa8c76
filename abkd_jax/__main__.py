"""`python -m abkd_jax`."""

from abkd_jax.cli import main

if __name__ == "__main__":
    main()
