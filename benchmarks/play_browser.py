"""Measure the frame rate and key-to-frame time of genie-play in Chromium.

python benchmarks/play_browser.py --preset=runs/genie/model --steps=8
python benchmarks/play_browser.py --size=paper --steps=8

The second command plays an untrained model of a size in benchmarks/sampler.py. Starts
genie-play and headless Chromium on this machine, presses real keys for some seconds, and
reads what the page measures: frames drawn within the last second, and the time from a key
to the first frame that used it. Needs selenium, chromium and chromium-driver.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import sampler
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--window-size=1280,900"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--preset", help="Name or folder of a Genie.")
    model.add_argument(
        "--size", choices=sampler.SIZES, help="Size of an untrained Genie."
    )
    parser.add_argument("--steps", type=int, default=8, help="MaskGIT steps per frame.")
    parser.add_argument("--seconds", type=float, default=20, help="Duration of play.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        preset = arguments.preset
        if arguments.size:
            preset = f"{folder}/preset"
            sampler.untrained_genie(arguments.size).save_to_preset(preset, "untrained")
        rates, delays = measure(preset, arguments.steps, arguments.seconds, folder)
    print(
        f"{np.median(rates):.1f} frames/s; key to frame {np.median(delays):.0f} ms "
        f"(median), {np.quantile(delays, 0.95):.0f} ms (95%) of {len(delays)} keys"
    )


def measure(preset: str, steps: int, seconds: float, folder: str):
    """Start a server and return the result of `play`."""
    command = ["-m", "genie_tf.experiments.play", f"--preset={preset}"]
    command += [f"--steps={steps}", "--temperature=0", "--port=0"]
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            url = next(
                match[0]
                for line in server.stdout
                if (match := re.search(r"http://\S+", line))
            )
            return play(url, folder, seconds)
        finally:
            server.terminate()


def play(url: str, folder: str, seconds: float) -> tuple[list[float], list[float]]:
    """Return what the page measures: frames per second, and milliseconds per key."""
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    rates = []
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        driver.get(url)
        while not driver.find_elements(By.CSS_SELECTOR, "#prompts img"):
            time.sleep(0.1)
        ActionChains(driver).send_keys(Keys.ENTER).perform()
        end, turn = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            # Number keys are bound to actions in any preset.
            key = str(turn % 4)
            ActionChains(driver).key_down(key).pause(1.2).perform()
            meter = driver.find_element(By.ID, "meter").text
            ActionChains(driver).key_up(key).perform()
            turn += 1
            if turn > 2:  # Skip the first ones, while the page loads.
                rates.append(float(re.match(r"(\d+) fps", meter)[1]))
        script = 'return performance.getEntriesByName("key to frame")'
        script += ".map((entry) => entry.duration)"
        return rates, driver.execute_script(script)


if __name__ == "__main__":
    main()
