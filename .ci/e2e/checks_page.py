"""What the admin page shows, in both languages, on wide and on narrow screens."""

import base64
import contextlib
import ipaddress
import os
import threading

import clients
from checks_dash import admin_of, complaints, text
from hostile import hostile
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from world import require, until

SCREENSHOTS = "RELAYMUX_SCREENSHOTS"  # names a directory for them, if they are wanted
PRIVATE = [ipaddress.ip_network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]  # RFC 1918
PERSIAN_DIGITS = set("۰۱۲۳۴۵۶۷۸۹")


@contextlib.contextmanager
def load(world, proxy, connections=6):
    """So many downloads through the proxy, one after the other, and one connection that is idle."""
    over = threading.Event()

    def fetch(size):
        while not over.is_set():
            with contextlib.suppress(Exception):  # the proxy may be slow
                clients.curl(f"socks5h://{proxy}", f"http://127.0.0.1:{world.origin.http}/bytes/{size}", timeout=30)

    threads = [threading.Thread(target=fetch, args=(20_000 << (2 * i % 9),)) for i in range(connections)]
    with clients.socks5(proxy, "127.0.0.1", world.origin.speak_first):
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def screen(driver, width, height, dark=False):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})


def width_of(driver):
    return driver.execute_script("return document.documentElement.scrollWidth")


def speak(driver, language):
    Select(driver.find_element(By.ID, "language")).select_by_value(language)


def unfold(driver):
    """Opens the log and the set-up."""
    for box in ("log-box", "setup-box"):
        driver.execute_script("document.getElementById(arguments[0]).open = true", box)
    until(lambda: "socks5h://" in text(driver, "setup"), 10, "the page shows how to set up programs")
    until(lambda: "INFO" in text(driver, "log"), 10, "the page shows the log")


def page_looks(world):
    """Under load, in both languages, light and dark, wide and narrow: nothing sticks out, and the browser has no complaint."""
    program, proxy, _ = world.through_relay()
    sizes = {"wide": (1280, 900), "narrow": (360, 740)}
    with load(world, proxy), clients.chromium("direct://") as driver:
        driver.get(f"http://{admin_of(program)}/")
        until(lambda: driver.find_elements(By.CSS_SELECTOR, "#recent tr"), 30, "the page shows an exchange")
        enough = 30 if os.environ.get(SCREENSHOTS) else 3  # for the eye
        until(lambda: driver.execute_script("return document.querySelector('#graph .down').points.length") >= enough, 60, "the graph has points")
        unfold(driver)
        for language in ("en", "fa"):
            speak(driver, language)
            for name, (width, height) in sizes.items():
                for dark in (False, True):
                    screen(driver, width, height, dark)
                    require(width_of(driver) <= width, f"in {language} the page is {width_of(driver)} px wide on a screen of {width}")
                    keep(driver, f"page-{language}-{name}-{'dark' if dark else 'light'}.png")
        require(not complaints(driver), f"the browser says {complaints(driver)}")
    return "8 looks"


def keep(driver, name):
    """Takes a picture of the whole page, if pictures are wanted."""
    directory = os.environ.get(SCREENSHOTS)
    if directory:
        os.makedirs(directory, exist_ok=True)
        picture = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        with open(os.path.join(directory, name), "wb") as file:
            file.write(base64.b64decode(picture["data"]))


def page_languages(world):
    """The browser's language is the first, what the user chooses stays; digits and direction follow."""
    program, proxy = world.embedded()
    admin = f"http://{admin_of(program)}/"
    with clients.socks5(proxy, "127.0.0.1", world.origin.speak_first), clients.chromium("direct://", "--accept-lang=fa-IR") as driver:
        driver.get(admin)
        until(lambda: f"127.0.0.1:{world.origin.speak_first}" in text(driver, "rows"), 20, "the page shows the flow")
        root = driver.find_element(By.TAG_NAME, "html")
        require((root.get_attribute("lang"), root.get_attribute("dir")) == ("fa", "rtl"), "a browser of a Persian speaker sees another language")
        until(lambda: "پیوند برقرار است" in text(driver, "state"), 10, "the state is in Persian")
        shown = text(driver, "totals")
        require(set(shown) & PERSIAN_DIGITS and not any(c in "0123456789" for c in shown), f"digits: {shown}")
        host = driver.find_element(By.CSS_SELECTOR, "#rows bdi")
        require(driver.execute_script("return getComputedStyle(arguments[0]).unicodeBidi", host) == "isolate", "a host is not isolated")
        speak(driver, "en")
        for _ in range(2):
            until(lambda: "link is up" in text(driver, "state"), 10, "the page speaks English")
            require(driver.find_element(By.TAG_NAME, "html").get_attribute("dir") == "ltr", "English runs to the left")
            driver.refresh()
        kept = driver.execute_script("return JSON.stringify({...localStorage})")
        require(kept == '{"relaymux.language":"en"}', f"the browser keeps {kept}")
    return "Persian, then English for good"


def page_exchanges(world):
    """Where the time of exchanges went, and who is told of it without seeing."""
    program, proxy, _ = world.through_relay()
    with load(world, proxy, 2), clients.chromium("direct://") as driver:
        driver.get(f"http://{admin_of(program)}/")
        bars = until(lambda: driver.find_elements(By.CSS_SELECTOR, "#recent svg"), 30, "the page shows an exchange")
        until(lambda: any("relay 1" in bar.get_attribute("aria-label") for bar in driver.find_elements(By.CSS_SELECTOR, "#recent svg")), 30,
              "an exchange is 1.5 s at the relay")
        rects = driver.execute_script("return [...document.querySelectorAll('#recent rect')].map(e => e.getBoundingClientRect().width)")
        require(max(rects) > 100, f"the widest part is {max(rects)} px")
        graphs = driver.find_elements(By.CSS_SELECTOR, "svg[role=img]")
        unnamed = [g.get_attribute("class") for g in graphs if g.is_displayed() and not g.get_attribute("aria-label")]
        require(not unnamed, f"pictures without words: {unnamed}")
        require("quota: " in text(driver, "accounts") and "exchanges a second" in text(driver, "deployments"), "no quota, or no exchanges of a deployment")
        before = len(bars)
        driver.find_element(By.ID, "recent-all").click()
        until(lambda: len(driver.find_elements(By.CSS_SELECTOR, "#recent tr")) >= before, 10, "those that listen are shown too")
    return f"{len(rects)} parts"


@hostile(49)
def page_log(world):
    """The log is there, level by level, and its lines are text."""
    program, _ = world.embedded()
    with clients.chromium("direct://") as driver:
        driver.get(f"http://{admin_of(program)}/")
        until(lambda: driver.find_element(By.ID, "content").is_displayed(), 20, "the page is there")
        driver.find_element(By.TAG_NAME, "body").send_keys("l")
        until(lambda: "link to the node is made" in text(driver, "log"), 20, "the log has the link")
        level = Select(driver.find_element(By.ID, "log-level"))
        level.select_by_value("ERROR")
        until(lambda: "link to the node" not in text(driver, "log") and "Nothing yet" in text(driver, "log-note"), 5, "only errors are shown")
        level.select_by_value("DEBUG")
        until(lambda: "link to the node is made" in text(driver, "log"), 5, "all is shown")
        require(not complaints(driver), f"the browser says {complaints(driver)}")
    return "shown by level"


@hostile(48)
def page_setup(world):
    """What is to be copied holds no password; the QR code is there when a phone can use it."""
    program, proxy = world.embedded()
    with clients.chromium("direct://") as driver:
        driver.get(f"http://{admin_of(program)}/")
        until(lambda: driver.find_element(By.ID, "content").is_displayed(), 20, "the page is there")
        unfold(driver)
        shown = text(driver, "setup")
        require(f"git config --global http.proxy socks5h://{proxy}" in shown and f"tg://socks?port={proxy.split(':')[1]}&server=127.0.0.1" in shown, shown)
        require(not driver.find_element(By.ID, "qr").is_displayed() and "this machine only" in text(driver, "far-none"), "a code that leads nowhere")
    node, password = world.node(), world.secret()
    program, proxy = world.proxy(node.deployment(), node.secrets["e2e"], host="0.0.0.0", users=f'[{{name = "me", password = "{password}"}}]')
    with clients.chromium("direct://") as driver:
        driver.get(f"http://{admin_of(program)}/")
        until(lambda: driver.find_element(By.ID, "content").is_displayed(), 20, "the page is there")
        unfold(driver)
        require("a name and a password" in text(driver, "password"), "it does not say that there is a password")
        require("@" not in text(driver, "setup"), "something like a password is to be copied")
        require(not any(secret in driver.page_source for secret in world.secrets), "a secret is in the page")
        reachable = bool(private_addresses())
        require(driver.find_element(By.ID, "qr").is_displayed() == reachable, f"the QR code is not there, or is, with the addresses {private_addresses()}")
        if reachable:
            path = driver.find_element(By.CSS_SELECTOR, "#qr path").get_attribute("d")
            require(path.startswith("M4 4h1v1h-1z") and path.count("M") > 200, "the code is empty")
            keep(driver, "setup.png")
    return "with a code" if reachable else "without a code, for this machine has no address of a network"


def private_addresses():
    """Of this machine, by ip(8): those of IPv4 that a network at home has."""
    words = clients.run(["ip", "-4", "-o", "address"]).decode().split()
    return [word for before, word in zip(words, words[1:])
            if before == "inet" and any(ipaddress.ip_address(word.split("/")[0]) in network for network in PRIVATE)]


def page_keyboard(world):
    """All of it can be reached by the Tab key, in the order of the page, and shows where one is."""
    program, proxy = world.embedded()
    with clients.socks5(proxy, "127.0.0.1", world.origin.speak_first), clients.chromium("direct://") as driver:
        driver.get(f"http://{admin_of(program)}/")
        until(lambda: driver.find_elements(By.CSS_SELECTOR, "#rows button"), 20, "the page shows the flow")
        order = []
        for _ in range(12):
            driver.switch_to.active_element.send_keys(Keys.TAB)
            focus = driver.switch_to.active_element
            order.append(focus.get_attribute("id") or focus.get_attribute("class") or focus.tag_name)
            outline = driver.execute_script("return getComputedStyle(arguments[0]).outlineStyle", focus)
            require(outline == "solid", f"one does not see the focus on {order[-1]}")
            if focus.tag_name == "summary" and len(order) > 7:
                break
        require(order[:6] == ["skip", "language", "pause", "recent-all", "filter", "button"], f"the order is {order}")
        names = driver.execute_script("return [...document.querySelectorAll('button, input, select')].filter(e => !e.closest('[hidden]'))"
                                      ".filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() && e.tagName === 'BUTTON' || e.closest('label')))"
                                      ".map(e => e.outerHTML)")
        require(not names, f"without a name: {names}")
    return " ".join(order)


CHECKS = [(page_looks, 120), (page_languages, 60), (page_exchanges, 90), (page_log, 60), (page_setup, 90), (page_keyboard, 60)]
