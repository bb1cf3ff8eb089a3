"""Tests of the page with real keys in a real browser."""

import shutil
import time

import numpy as np
import pytest
from PIL import Image

from genie_tf.play import player
from genie_tf.testing.toy_simulator import ToySimulator

webdriver = pytest.importorskip(
    "selenium.webdriver", reason="selenium is not installed"
)
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs Chromium; on Debian: apt install chromium chromium-driver",
)
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--window-size=1280,900"),
    "--ignore-certificate-errors",
)


class Browser:
    """Browser that shows the page of a server."""

    def __init__(self, driver, address: str):
        self.driver = driver
        driver.get(address)
        self.until(lambda: self.all("#prompts img"))

    def all(self, selector: str):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def until(self, condition):
        return WebDriverWait(self.driver, 30, 0.05).until(lambda _: condition())

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def hold(self, key, until):
        ActionChains(self.driver).key_down(key).perform()
        self.until(until)
        ActionChains(self.driver).key_up(key).perform()

    def begin(self):
        """Start a world from the first image, with the keyboard: it has the focus."""
        self.press(Keys.ENTER)
        self.until(lambda: self.one("#game").is_displayed())
        self.until(lambda: self.square())

    def number(self, of: str = "now") -> int:
        return int(self.one("#timeline").get_attribute(f"aria-value{of}"))

    def square(self, canvas: str = "#screen"):
        """Return the row and column of the white square, or None."""
        script = """
            const {width, height} = arguments[0];
            const {data} = arguments[0].getContext("2d").getImageData(0, 0, width, height);
            return [...data];
        """
        pixels = self.driver.execute_script(script, self.one(canvas))
        places = np.argwhere(np.reshape(pixels, (16, 16, 4)).sum(-1) == 4 * 255)
        return tuple(places[0]) if len(places) == 1 else None

    def notice(self) -> str:
        return self.one("#notice").text


@pytest.fixture
def driver(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}/profile"):
        options.add_argument(flag)
    folder = {"download.default_directory": f"{tmp_path}/downloads"}
    options.add_experimental_option("prefs", folder)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    with webdriver.Chrome(options=options, service=service) as driver:
        yield driver
        # The page raised no errors and fetched nothing from elsewhere.
        log = driver.get_log("browser")
        assert not [entry for entry in log if entry["level"] == "SEVERE"]


@pytest.fixture
def open_browser(driver):
    return lambda port: Browser(driver, f"http://127.0.0.1:{port}")


@pytest.fixture
def browser(serve, open_browser):
    names = ["left", "right", "up", "down"]
    return open_browser(serve(action_names=names))


def test_keys_move_world(browser):
    browser.begin()
    assert browser.square() == (8, 8)
    browser.hold(Keys.ARROW_RIGHT, lambda: browser.number() >= 5)
    time.sleep(0.3)
    number = browser.number()
    assert browser.square() == (8, (8 + number) % 16)
    browser.press(Keys.ARROW_UP)
    browser.until(lambda: browser.number() > number)
    assert browser.square()[0] < 8
    text = browser.one("#timeline").get_attribute("aria-valuetext")
    assert text == f"Moment {browser.number()} of {browser.number()}, up"
    assert browser.one("#meter").text.endswith(" ms")


def test_newer_of_two_keys_wins(browser):
    browser.begin()
    right, up = Keys.ARROW_RIGHT, Keys.ARROW_UP
    ActionChains(browser.driver).key_down(right).key_down(up).perform()
    browser.until(lambda: browser.square()[0] != 8)
    ActionChains(browser.driver).key_up(up).key_up(right).perform()


def test_buttons_number_keys_and_settings(serve, open_browser):
    class Simulator(ToySimulator):
        def step(self, state, action, sampling):
            used.append(sampling)
            return super().step(state, action, sampling)

    used = []
    browser = open_browser(serve(Simulator(), sampling={"num_steps": 7}))
    browser.begin()
    browser.all(".action")[3].click()
    browser.until(lambda: browser.number() > 0)
    assert browser.square()[0] > 8
    number = browser.number()
    browser.press("0")
    browser.until(lambda: browser.number() > number)
    assert browser.square()[1] < 8
    Select(browser.one("#order")).select_by_visible_text("halton")
    browser.one("#temperature").send_keys(Keys.ARROW_LEFT)
    assert browser.one("label[for=temperature] output").text == "0.9"
    assert browser.notice().startswith("A new world.")
    browser.all(".action")[3].click()
    changed = {"num_steps": 7, "temperature": 0.9, "order": "halton"}
    browser.until(lambda: changed.items() <= used[-1].items())


def test_pause_step_and_rewind(browser):
    browser.begin()
    browser.press("p")
    browser.until(lambda: browser.one("#badge").text == "paused")
    for number in (1, 2, 3):
        browser.press(Keys.ARROW_RIGHT)
        browser.until(lambda number=number: browser.number() == number)
    browser.press(".")
    browser.until(lambda: browser.number() == 4)
    assert browser.square() == (8, 12)
    browser.press("p")
    browser.hold(Keys.BACKSPACE, lambda: browser.number() == 0)
    assert browser.square() == (8, 8) and browser.number("max") == 4
    # Acting there starts another line.
    browser.press(Keys.ARROW_LEFT)
    browser.until(lambda: browser.square()[1] < 8)
    browser.until(lambda: browser.all("#branches button"))
    assert browser.one("#branches button").text == "Line 1: 4 moments"
    browser.one("#branches button").click()
    browser.until(lambda: browser.square() == (8, 12))
    # The timeline works by click and by keys.
    timeline = browser.one("#timeline")
    ActionChains(browser.driver).move_to_element_with_offset(
        timeline, 11 - timeline.size["width"] // 2, 0
    ).click().perform()
    browser.until(lambda: browser.number() < 2)
    browser.press(Keys.END)
    browser.until(lambda: browser.number() == 4)
    browser.press(Keys.ARROW_LEFT)
    browser.until(lambda: browser.square() == (8, 11))


def test_recording_is_downloaded(browser, tmp_path):
    browser.begin()
    browser.press("r")
    browser.until(lambda: browser.one("#do-record").text == "Stop")
    browser.hold(Keys.ARROW_RIGHT, lambda: browser.number() >= 5)
    browser.press("r")
    browser.until(lambda: browser.all("#downloads a"))
    browser.one("#downloads a").click()
    file = tmp_path / "downloads/world.gif"
    browser.until(file.exists)
    with Image.open(file) as gif:
        assert gif.n_frames >= 5


@pytest.mark.parametrize("pad, corner", [(False, 60), (True, 0)])
def test_uploaded_image_becomes_world(browser, tmp_path, pad, corner):
    Image.new("RGB", (300, 200), (60, 0, 0)).save(tmp_path / "mine.png")
    if pad:
        browser.one("#pad").click()
    browser.one("#file").send_keys(f"{tmp_path}/mine.png")
    browser.until(lambda: browser.one("#game").is_displayed())
    browser.until(browser.square)
    # The toy world's gray is the first byte of the image.
    script = "return arguments[0].getContext('2d').getImageData(0, 0, 1, 1).data[1]"
    assert browser.driver.execute_script(script, browser.one("#screen")) == corner


def test_invalid_image_is_reported(browser, tmp_path):
    (tmp_path / "mine.png").write_text("text")
    browser.one("#file").send_keys(f"{tmp_path}/mine.png")
    browser.until(lambda: "cannot be read as a" in browser.notice())
    assert browser.one("#picker").is_displayed()
    # The browser logs the rejected request.
    assert "400" in browser.driver.get_log("browser")[0]["message"]


def test_sketch_becomes_world(browser):
    browser.one("#open-sketch").click()
    paper = browser.one("#paper")
    ActionChains(browser.driver).move_to_element(paper).click_and_hold().move_by_offset(
        50, 50
    ).release().perform()
    browser.one("#use-sketch").click()
    browser.until(lambda: browser.one("#game").is_displayed())
    browser.until(browser.square)


def test_calibration_previews_names_and_binds_actions(serve, open_browser):
    simulator = ToySimulator()
    browser = open_browser(serve(simulator))
    browser.begin()
    browser.press("c")
    browser.until(lambda: browser.one("#calibration").is_displayed())
    browser.until(lambda: len(simulator.actions) == 4 * player.PREVIEW_FRAMES)
    browser.until(lambda: browser.square(".card:nth-child(3) canvas"))
    # Use only the keyboard: type a name, then activate the bind button.
    browser.all(".card input")[2].send_keys("climb")
    browser.all(".card")[2].find_element(By.CSS_SELECTOR, ".bind").send_keys(Keys.ENTER)
    browser.press("w")
    browser.until(lambda: browser.notice() == "W is now climb.")
    browser.press(Keys.ESCAPE)
    browser.until(lambda: not browser.one("#calibration").is_displayed())
    assert browser.all(".action")[2].text.split() == ["climb", "2", "↑", "W"]
    browser.press("w")
    browser.until(lambda: browser.square()[0] < 8)
    # The page keeps it after reloading.
    browser.driver.refresh()
    browser.until(lambda: browser.all("#prompts img"))
    browser.begin()
    assert browser.all(".action")[2].text.split() == ["climb", "2", "↑", "W"]


def test_controls_have_names_and_tab_order(browser):
    browser.begin()
    script = """
        return [...document.querySelectorAll("button, input, select, [tabindex], canvas")]
            .filter((element) => element.checkVisibility() && !element.ariaHidden)
            .filter((element) => !(element.ariaLabel || element.textContent.trim()
                || element.labels?.length))
            .map((element) => element.outerHTML);
    """
    assert browser.driver.execute_script(script) == []
    # From the world on, the Tab key reaches all of them in order.
    order = []
    for _ in range(14):
        browser.press(Keys.TAB)
        order.append(browser.driver.switch_to.active_element.get_attribute("id"))
    expected = ["timeline", "do-rewind", "do-pause", "do-step", "do-record"]
    assert [id for id in order if id in expected] == expected
    assert {"temperature", "num_steps", "order"} < set(order)


def test_disconnected_page_shows_reason(serve, open_browser, monkeypatch):
    monkeypatch.setattr(player, "IDLE_SECONDS", 2)
    browser = open_browser(serve())
    browser.until(lambda: browser.one("#gone").is_displayed())
    reason = browser.one("#gone-reason").text
    assert reason == "This page sent nothing for 2 seconds."


def test_page_works_behind_nginx_at_subpath(driver, nginx):
    address = f"https://127.0.0.1:{nginx[0]}/genie/"
    browser = Browser(driver, f"{address}?token=a-token")
    assert driver.current_url == address
    browser.begin()
    browser.press(Keys.ARROW_RIGHT)
    browser.until(lambda: browser.number() > 0)
