"""The metadata of a re-ID model that others publish: its calibration on people whom it never saw.

    passerby reid get retail-0287
    python benchmarks/linking_sites.py --market MARKET-1501 --cuhk03 CUHK03/train --reid retail-0287 --small --fit --cache FOLDER > fit.txt
    python benchmarks/published_facts.py retail-0287 --cuhk03 CUHK03/train --fit fit.txt --cache FOLDER

CUHK03 lies as PERSON/CAMERA_n.jpg. 400 of its people, up to five pictures in each of two cameras: gate and logistic of single crops, and of their means.
The evidence weights are those that ``linking_sites.py --fit`` printed. Writes reid/weights/NAME.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from camera_shift import embedded
from linking_sites import some_of

from detectors.runtime.checkout import commit
from reid import Embedder
from reid.bundle import EvidenceWeights
from reid.datasets.split import Split
from reid.evaluation.calibration import calibrate
from reid.evaluation.openset import pool
from reid.published import FACTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--cuhk03", type=Path, required=True)
    parser.add_argument("--fit", type=Path, required=True, help="what linking_sites.py --fit printed")
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    embedder = Embedder(args.name)
    paths = some_of(sorted(args.cuhk03.rglob("c?_?.jpg")))
    ids, cameras = np.array([int(path.parent.name) + 1 for path in paths]), np.array([int(path.name[1]) for path in paths])
    rows = embedded(embedder, paths, cameras, cache=args.cache)
    people = Split(tuple(paths), ids, cameras, np.zeros(len(ids), np.int64))
    weights = next(line for line in args.fit.read_text(encoding="utf-8").splitlines() if line.startswith("{"))
    facts = embedder.facts.model_copy(
        update={
            "calibration": calibrate(rows, people),
            "pooled": calibrate(*pool(rows, people)),
            "evidence": EvidenceWeights.model_validate_json(weights),
            "commit": (commit() or "unknown")[:7],
        }
    )
    (FACTS / f"{args.name}.json").write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")
    print(facts.model_dump_json(indent=1))


if __name__ == "__main__":
    main()
