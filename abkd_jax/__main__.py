"""`python -m abkd_jax`."""

from abkd_jax.cli.parser import main

if __name__ == "__main__":
    main()
