"""Take the commands out of the README: the contents of its ```bash blocks marked `<!-- command N -->`."""

import re
import sys
from pathlib import Path

readme, directory = Path(sys.argv[1]), Path(sys.argv[2])
blocks = re.findall(r"<!-- command (\d+) -->\s*```bash\n(.*?)```", readme.read_text(encoding="utf-8"), flags=re.DOTALL)
if [number for number, _ in blocks] != ["1", "2"]:
    sys.exit(f"{readme} must have the commands 1 and 2, in this order; it has {[number for number, _ in blocks]}.")
directory.mkdir(parents=True)
for number, block in blocks:
    (directory / f"{number}.sh").write_text(block, encoding="utf-8")
