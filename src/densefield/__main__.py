"""`python -m densefield`: the command line where its script is not on the path."""

from densefield.cli import main

if __name__ == "__main__":  # workers that start afresh import this file too
    main()
