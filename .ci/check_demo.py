"""Check what the README's first command has to show, from the files that it wrote."""

import sys
from pathlib import Path

import pandas as pd

output = Path(sys.argv[1])
for name in ("checkpoints/best.pt", "checkpoints/last.pt", "history.csv", "evaluation/adjacency.csv"):
    if not (output / name).is_file():
        sys.exit(f"{output / name} is missing")
metrics = pd.read_csv(output / "evaluation" / "metrics.csv")
ranking = pd.read_csv(output / "evaluation" / "contribution.csv").set_index("sequence")
areas = pd.read_csv(output / "evaluation" / "differentiation.csv").groupby("sequence")["auc"].mean()
figures = sorted((output / "evaluation" / "figures").glob("*.png"))
print(ranking, areas, metrics.groupby("target")["psnr"].mean(), f"{len(figures)} figures", sep="\n")
pairs = metrics.groupby("subject").size()
failures = [
    message
    for message, wrong in {
        "a subject has not all 12 pairs": (pairs != 12).any(),
        "C_d does not rank t1gd first": ranking.loc["t1gd", "rank_d"] != 1,
        "the sums of C_t and C_d do not cancel": abs(ranking["c_t"].sum() + ranking["c_d"].sum()) > 1e-9,
        f"M_d(t1gd) finds the enhancement with AUC {areas['t1gd']:.3f}, below 0.9": areas["t1gd"] < 0.9,
        "figures are missing": len(figures) < 5,
    }.items()
    if wrong
]
sys.exit("; ".join(failures) or 0)
