#!/bin/sh
# Puts the averaged weights of a run into the package under a new name.
#   ship_model.sh RUN NAME SUMMARY
# NAME must not have been released before. Write NAME.md beside the weights, then commit it, the
# weights and their graphs. Needs the extra onnx.
set -eu
folder=models/bigcodec_models/weights
bigcodec export "$1" -o "$folder/$2.safetensors" --half --name "$2" --license MIT
python3 - "$folder" "$2" "$3" <<'PY'
import hashlib
import json
import sys
from pathlib import Path

from bigcodec_models.checkpoints.model_file import load_model
from bigcodec_models.codec import Codec
from bigcodec_models.onnx.export import export_graphs, write_archive
from bigcodec_models.onnx.graph_set import ARCHIVE_SUFFIX
from bigcodec_models.onnx.verification import compare_with_torch

folder, name, summary = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
table = folder / "models.json"
rows = [row for row in json.loads(table.read_text()) if row["name"] != name]
path = folder / f"{name}.safetensors"
model, archive = load_model(path), folder / f"{name}{ARCHIVE_SUFFIX}"
graphs = export_graphs(model, path)
print(compare_with_torch(model.config, lambda f0: (Codec(model, f0=f0), Codec(graphs, f0=f0))))
write_archive(graphs, archive)
row = {"name": name, "file": f"{name}.safetensors", "fingerprint": model.fingerprint.hex()}
row |= {"digest": model.digest.hex(), "license": "MIT", "summary": summary}
sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
rows.append({**row, "graphs": archive.name, "graphs_sha256": sha256})
table.write_text(json.dumps(rows, indent=1) + "\n")
PY
