"""Take the commands out of a page: the contents of its ```bash blocks marked `<!-- command N -->`, 1 to COUNT.

readme_commands.py PAGE DIRECTORY COUNT
"""

import re
import sys
from pathlib import Path

readme, directory, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
blocks = re.findall(r"<!-- command (\d+) -->\s*```bash\n(.*?)```", readme.read_text(encoding="utf-8"), flags=re.DOTALL)
if [int(number) for number, _ in blocks] != list(range(1, count + 1)):
    sys.exit(f"{readme} must have {count} commands, numbered from 1; it has {[number for number, _ in blocks]}.")
directory.mkdir(parents=True, exist_ok=True)
for number, block in blocks:
    (directory / f"{number}.sh").write_text(block, encoding="utf-8")
