"""A real headless Chromium, and what the tests ask of a page in it."""

import json
import os
import shutil
from typing import Any
from urllib.parse import urlsplit

DESKTOP, PHONE = (1280, 900), (360, 740)
_ANSWERS_WITHIN_S = 300
_LOCAL = ("file", "data", "blob", "about", "chrome", "chrome-extension", "devtools", "chrome-error")


def missing():
    """Which programs are not here, as words for a skip; empty when all are."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not installed: run tests/install.sh" if absent else ""


def start():
    """Start Chromium; the driver is the installed one, so nothing is fetched."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    os.environ["SE_OFFLINE"] = "true"
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    # No sandbox: a container's root has none. No /dev/shm: a container's is too small.
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--force-color-profile=srgb",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=shutil.which("chromedriver")))
    # A browser that does not answer is an error, not a test that never ends.
    executor: Any = driver.command_executor  # a URL or a connection, say its types; here it is a connection
    executor.client_config.timeout = _ANSWERS_WITHIN_S
    return Browser(driver)


class Browser:
    """One page at a time."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, *, size=DESKTOP, dark=False, script=True, fragment=""):
        """Open a file, at a size (width, height), in a colour scheme, with or without its script."""
        self.resize(*size, mobile=size == PHONE)
        self._tell(
            "Emulation.setEmulatedMedia",
            media="",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self._tell("Emulation.setScriptExecutionDisabled", value=not script)
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(path.as_uri() + fragment)
        return self

    def resize(self, width, height, *, mobile=False):
        """Give the page a screen of so many pixels."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self._tell("Emulation.setDeviceMetricsOverride", **screen)

    def ask(self, expression):
        """Evaluate a JavaScript expression; works with the page's own script disabled too."""
        answer = self._tell("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression):
        """The value of an expression, once it is true: a browser hands on a pointer frame by frame."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, timeout=_ANSWERS_WITHIN_S, poll_frequency=0.05).until(
            lambda _: self.ask(expression)
        )

    def click(self, selector, number=0):
        """Click what a selector finds, as a person does: once it stands still."""
        from selenium.common.exceptions import ElementClickInterceptedException
        from selenium.webdriver.support.ui import WebDriverWait

        element = self.driver.find_elements("css selector", selector)[number]

        def clicked(driver):
            """Whether it took the click: while the page still scrolls to where a link led, nothing does."""
            driver.execute_script(
                "arguments[0].scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'})", element
            )
            element.click()
            return True

        moving = [ElementClickInterceptedException]
        WebDriverWait(self.driver, timeout=_ANSWERS_WITHIN_S, poll_frequency=0.05, ignored_exceptions=moving).until(
            clicked
        )
        return element

    def complaints(self):
        """What the console said since the page was opened: errors, warnings, refusals of the content policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """Addresses outside the page that it asked for."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        requested = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in requested if urlsplit(url).scheme not in _LOCAL]

    def close(self):
        """End Chromium."""
        self.driver.quit()

    def _tell(self, command, **words):
        return self.driver.execute_cdp_cmd(command, words)
