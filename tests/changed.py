"""Print the test files for what changed, for ``make check``: quick, and no replacement for all tests.

``python tests/changed.py [COMMIT]`` takes what differs from the commit; by default what is not committed, or the last
commit if everything is. A test belongs to a module if it names it in an import, or is named after it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
ALWAYS = ("tests/test_house.py", "tests/test_imports.py", "tests/test_language.py")
DOCS = "tests/test_docs.py"


def changed(since: str | None) -> list[str]:
    """Paths from the root, with slashes, of all files that differ from a commit; deleted files are omitted."""
    for commit in [since] if since else ["HEAD", "HEAD~1"]:
        paths = git("diff", "--name-only", "--diff-filter=d", commit)
        paths += git("ls-files", "--others", "--exclude-standard")
        if paths:
            return paths
    return []


def git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"git {words[0]} failed: {done.stderr.strip()}; run 'make test' instead")
    return done.stdout.splitlines()


def belonging_tests(paths: Iterable[str], texts: dict[str, str]) -> list[str]:
    """Test files for changed files.

    Args:
        paths: Paths from the root of what changed.
        texts: The text of each test file, by its path from the root.
    """
    found = set(ALWAYS)
    for path in paths:
        name = Path(path).stem
        if path in texts:
            found.add(path)
        elif path.startswith("src/ednabed/") and path.endswith(".py"):
            module = path.removeprefix("src/").removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            found |= {
                test for test, text in texts.items() if module in text or Path(test).name.startswith(f"test_{name}")
            }
        elif path.startswith("tests/") and path.endswith(".py"):
            found |= {test for test, text in texts.items() if f"from {name} import" in text}
        elif path.endswith(".md"):
            found.add(DOCS)
    return sorted(found)


def main() -> None:
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(TESTS.rglob("test_*.py"))
    }
    print("\n".join(belonging_tests(changed(sys.argv[1] if len(sys.argv) > 1 else None), texts)))


if __name__ == "__main__":
    main()
