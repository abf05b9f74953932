"""`python -m bigcodec_cli` is `bigcodec`."""

from bigcodec_cli.main import main

if __name__ == "__main__":
    main()
