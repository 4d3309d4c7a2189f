"""Write every block and page that is out of date, and name it."""

from pathlib import Path

from softlabels.pages import outdated

for page, text in outdated(Path.cwd()).items():
    page.write_text(text, encoding="utf-8")
    print(page.relative_to(Path.cwd()))
