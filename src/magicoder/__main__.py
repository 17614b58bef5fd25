"""`python -m magicoder`: the command, where the folder of scripts is not on PATH."""

from magicoder.cli import main

if __name__ == "__main__":
    main()
