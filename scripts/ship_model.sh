#!/bin/sh
# Puts the averaged weights of a run into the package under a new name.
#   ship_model.sh RUN NAME SUMMARY
# NAME must not have been released before. Write NAME.md beside the weights, then commit both.
set -eu
folder=models/bigcodec_models/weights
bigcodec export "$1" -o "$folder/$2.safetensors" --half --name "$2" --license MIT
python3 - "$folder" "$2" "$3" <<'PY'
import json
import sys
from pathlib import Path

from bigcodec_models.checkpoints.model_file import load_model

folder, name, summary = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
table = folder / "models.json"
rows = [row for row in json.loads(table.read_text()) if row["name"] != name]
model = load_model(folder / f"{name}.safetensors")
row = {"name": name, "file": f"{name}.safetensors", "fingerprint": model.fingerprint.hex()}
rows.append({**row, "digest": model.digest.hex(), "license": "MIT", "summary": summary})
table.write_text(json.dumps(rows, indent=1) + "\n")
PY
