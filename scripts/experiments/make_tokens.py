"""Encodes folders of speech into one file of tokens, for measurements of the entropy coders.

    python scripts/experiments/make_tokens.py OUT FOLDER... [--model lite] [--version 0]

Writes OUT.tokens (int32, little-endian, all files one after the other, codebooks in turn) and
OUT.jsonl (one line a file: path, first token, number of tokens). Versions above 0 are those that
`bigcodec train-prior --versions` makes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bigcodec_cli.coding.audio_encoder import AudioEncoder
from bigcodec_cli.coding.config import CompressConfig
from bigcodec_cli.training.prior import token_sequences
from bigcodec_models.data.index import scan


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--version", type=int, default=0)
    options = parser.parse_args()
    clips = [clip for folder in options.folders for clip in scan(folder)]
    config = CompressConfig(model=options.model, coder="raw", downmix=True, verify=False)
    encoder, at = AudioEncoder.load(config), 0
    tokens_path, index_path = options.out.with_suffix(".tokens"), options.out.with_suffix(".jsonl")
    with tokens_path.open("wb") as tokens_file, index_path.open("w") as index_file:
        for clip, tokens in token_sequences(encoder, clips, options.version):
            tokens_file.write(tokens.astype("<i4").tobytes())
            row = {"file": str(clip.path), "start": at, "count": tokens.size}
            index_file.write(json.dumps(row) + "\n")
            at += tokens.size


if __name__ == "__main__":
    main()
