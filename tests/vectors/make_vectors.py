"""Makes every file of this folder, README.md included, except the scripts.

    python tests/vectors/make_vectors.py [FOLDER]

Nothing here depends on the machine: running it again must change nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "format"))  # for the toy priors and the checksums

from vector_containers import vectors as containers  # type: ignore[import-not-found]  # noqa: E402
from vector_fields import vectors as fields  # type: ignore[import-not-found]  # noqa: E402
from vector_models import vectors as models  # type: ignore[import-not-found]  # noqa: E402
from vector_speech import vectors as speech  # type: ignore[import-not-found]  # noqa: E402

README = """\
# Good, bad and unsupported files

Made by `make_vectors.py`; test_vectors.py checks that it still makes the same, and that each file
gives what is said of it here. What is bad is damaged or impossible; what is unsupported is intact
but newer or larger than a reader takes. Each has one thing wrong with it.

- `.bcdc`: `bcdc.read`, then `tokens` with the prior that the file names: the shape of the tokens
  (channels, frames, codebooks) with the CRC-32 over them as little-endian int32, or the error.
- `.bcdp`: `bcdc.read_prior`.
- `.safetensors`, `.pt`: `bigcodec_models.codec.read_model`; the start of the fingerprint, or the
  error. What `bad-code*` would do if pickle loaded it is to make something named `loaded-code-ran`.

All tokens and weights are made up, but for `good-shipped-prior-*.bcdc`, which hold tokens of
`examples/speech.flac` (LibriSpeech, CC BY 4.0, see `examples/ATTRIBUTION.md`).

| file | gives | what it is |
|---|---|---|
"""


def main(folder: Path) -> None:
    """Write all files."""
    rows = []
    for name, data, gives, words in (*containers(), *fields(), *speech(), *models()):
        (folder / name).write_bytes(data)
        rows.append(f"| `{name}` | {gives} | {words} |\n")
    (folder / "README.md").write_text(README + "".join(sorted(rows)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
