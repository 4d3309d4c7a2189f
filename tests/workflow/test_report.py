"""The report in headless Chromium, on a finished part of a real grid: from disk, offline, by mouse and by keys."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from workflow_tree import Tree

from softlabels.papers.claims import all_claims

pytestmark = pytest.mark.workflow
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver: make test-browser")
WIDTHS = (1280, 390)
PAPERS = ("muller2019", "zhang2020")
CLAIMS = sum(claim.paper in PAPERS for claim in all_claims())


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """One table and one figure of three seeds; the other artifacts have not been made."""
    tree = Tree.create(tmp_path_factory.mktemp("part"))
    tree.snakemake("--config", "seeds=3", "--", "muller2019_table2", "muller2019_fig2")
    tree.replace("config.yaml", "papers: [muller2019] ", "papers: [muller2019, zhang2020] ")
    tree.replace("config.yaml", "seeds: null ", "seeds: 3 ")
    assert tree.run("softlabels", "specs").returncode == 0  # of the second paper nothing is run
    done = tree.run("softlabels", "report", "--scale", "tiny")
    assert done.returncode == 0, done.stdout
    return tree


@pytest.fixture(scope="module")
def page(part: Tree) -> Path:
    return part.results / "reproduction.html"


@pytest.fixture
def browser(page: Path, request: pytest.FixtureRequest) -> Iterator[Chrome]:
    """A browser of the width that the test is parametrised with, cut off from every network."""
    width = getattr(request, "param", WIDTHS[0])
    options = Options()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*"]})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        driver.get(page.as_uri())
        yield driver
    finally:
        driver.quit()


def shown(browser: Chrome) -> set[str]:
    """Ids of the claims that can be seen."""
    return {str(e.get_attribute("id")) for e in browser.find_elements(By.CLASS_NAME, "claim") if e.is_displayed()}


def js(browser: Chrome, script: str, *arguments: Any) -> Any:
    return browser.execute_script(script, *arguments)


def test_the_page_refers_to_nothing_outside_it(page: Path) -> None:
    text = page.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", text)
    assert "url(" not in text.replace("data:", "")
    assert "@import" not in text


def test_a_part_of_a_grid_is_shown_and_the_rest_said(page: Path) -> None:
    text = page.read_text()
    assert text.count('<article class="artifact"') > 2
    assert text.count("Not made yet.") == text.count('<article class="artifact"') - 2
    assert "DEMO (tiny)." in text


@needs_browser
@pytest.mark.parametrize("browser", WIDTHS, indirect=True)
def test_it_opens_from_disk_and_is_readable(browser: Chrome) -> None:
    assert browser.title == "What reproduces? softlabels, scale tiny"
    assert len(shown(browser)) == CLAIMS
    assert not js(
        browser, "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
    )
    wide, screen = js(browser, "return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= screen, "the page scrolls sideways"
    small = js(
        browser,
        "return [...document.querySelectorAll('h1,h2,h3,h4,p,td,th,label,summary,a')]"
        ".filter(e => parseFloat(getComputedStyle(e).fontSize) < 12).length",
    )
    assert small == 0
    for image in browser.find_elements(By.CSS_SELECTOR, ".artifact img"):
        js(browser, "arguments[0].scrollIntoView()", image)
        assert js(browser, "return arguments[0].decode().then(() => arguments[0].naturalWidth)", image) > 0
        assert image.find_element(By.XPATH, "..").size["width"] <= screen


@needs_browser
def test_verdicts_filter_by_paper_and_verdict(browser: Chrome, part: Tree) -> None:
    measured = [str(part.results / "metrics" / "muller2019" / f"{name}.csv") for name in ("table2", "fig2")]
    for command in (("metrics", "--out", "results/tiny/metrics.csv", *measured), ("claims", "--scale", "tiny")):
        assert part.run("softlabels", *command).returncode == 0
    claims = pd.read_csv(part.results / "claims.csv")
    assert len(claims) == len(all_claims())
    assert claims["verdict"].nunique() > 1
    claims = claims[claims["paper"].isin(PAPERS)]
    for paper in ("", *PAPERS):
        browser.find_element(By.CSS_SELECTOR, f'input[name=paper][value="{paper}"]').click()
        for verdict in ("", "holds", "fails", "undecided"):
            browser.find_element(By.CSS_SELECTOR, f'input[name=verdict][value="{verdict}"]').click()
            wanted = claims[(claims["paper"] == paper) | (not paper)]
            wanted = wanted[(wanted["verdict"] == verdict) | (not verdict)]
            assert shown(browser) == set(wanted["id"])
            assert browser.find_element(By.ID, "shown").text == f"{len(wanted)} of {CLAIMS} claims"


@needs_browser
def test_each_verdict_leads_to_its_figures_and_runs(browser: Chrome) -> None:
    broken = js(
        browser,
        "return [...document.querySelectorAll('a[href^=\"#\"]')]"
        ".filter(a => !document.getElementById(decodeURIComponent(a.hash.slice(1)))).map(a => a.hash)",
    )
    assert not broken
    claim = browser.find_element(By.ID, "M01")
    claim.find_element(By.LINK_TEXT, "table2").click()
    assert js(browser, "return location.hash") == "#muller2019.table2"
    target = browser.find_element(By.ID, "muller2019.table2")
    assert -1 <= js(browser, "return arguments[0].getBoundingClientRect().top", target) < 900
    assert target.find_elements(By.CSS_SELECTOR, "table tr")
    js(browser, "arguments[0].querySelector('details').open = true", claim)
    runs = claim.find_elements(By.CSS_SELECTOR, 'a[href^="#run-"]')
    assert len(runs) == 2
    name = runs[0].text
    runs[0].click()
    row = browser.find_element(By.ID, f"run-{name}")
    assert row.is_displayed()
    assert "muller2019.table2" in row.text


@needs_browser
def test_a_link_to_a_claim_that_is_filtered_out_shows_it(browser: Chrome) -> None:
    browser.find_element(By.CSS_SELECTOR, 'input[name=paper][value="zhang2020"]').click()
    assert "M04" not in shown(browser)
    js(browser, "location.hash = '#M04'")
    assert "M04" in shown(browser)


@needs_browser
@pytest.mark.parametrize("browser", WIDTHS, indirect=True)
def test_it_works_by_keyboard(browser: Chrome) -> None:
    keys = ActionChains(browser)
    keys.send_keys(Keys.TAB, Keys.ENTER).perform()  # the first stop skips to the verdicts
    assert js(browser, "return location.hash") == "#verdicts"
    js(browser, "document.querySelector('input[name=verdict]').focus()")
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    holding = shown(browser)
    listed = browser.find_elements(By.CSS_SELECTOR, '.claim[data-verdict="holds"]')
    assert holding == {e.get_attribute("id") for e in listed}
    first = browser.find_element(By.ID, sorted(holding)[0])
    js(browser, "arguments[0].querySelector('summary').focus()", first)
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert first.find_element(By.TAG_NAME, "details").get_attribute("open") == "true"
    outline = js(browser, "return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus cannot be seen"
    stops = js(browser, "return [...document.querySelectorAll('a,summary,input')].filter(e => e.tabIndex < 0).length")
    assert stops == 0


@needs_browser
def test_colours_of_verdicts_can_be_read(browser: Chrome) -> None:
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        pairs = js(
            browser,
            "return [...document.querySelectorAll('.badge, a, p')].slice(0, 400)"
            ".map(e => [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor])",
        )
        assert min(contrast(ink, paper) for ink, paper in {tuple(pair) for pair in pairs}) >= 4.5


def contrast(one: str, other: str) -> float:
    """Of two CSS colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
