"""The admin page in Chromium, and relaymux status."""

import json
import subprocess

import clients
from checks_browser import names_are_unknown_here
from hostile import hostile
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from world import HOSTS, Failed, require, until

SHARDS = 4  # ports of a proxy

MARKUP = "<img src=x onerror=\"document.title='pwned'\"></td><b>x</b>"

# Has the page see a flow to a host of that name: no name of the kind comes past the
# proxy's own checks.
WITH_MARKUP = """
const real = window.fetch;
window.fetch = async (...what) => {
  const answer = await real(...what);
  if (!String(what[0]).includes('/api/status')) return answer;
  const state = await answer.json();
  state.flows.unshift({id: 1e9, network: 'tcp', host: %s, port: 443, connected: true, age_s: 1, up_bytes: 0, down_bytes: 0, exchanges: 0});
  return new Response(JSON.stringify(state));
};"""

CROSS_ORIGIN = """
const [admin, done] = arguments;
Promise.all([
  fetch(admin + '/api/status').then(() => 'read', () => 'refused'),
  fetch(admin + '/api/status', {mode: 'no-cors'}).then(a => a.type, () => 'refused'),
  fetch(admin + '/api/flows/1/close', {method: 'POST', mode: 'no-cors'}).then(() => 'sent', () => 'refused'),
  fetch(admin + '/api/flows/1/close', {method: 'POST', headers: {Authorization: 'Bearer x'}}).then(() => 'sent', () => 'refused'),
]).then(done);"""


def admin_of(program):
    (address,) = program.find(r"Admin page on http://(\S+)/")
    return address


def dash_page(world):
    """The page shows a flow and closes it, alone, at 360 px, by keyboard, in the dark."""
    program, proxy = world.embedded()
    admin = f"http://{admin_of(program)}"
    connection = clients.socks5(proxy, "127.0.0.1", world.origin.speak_first)
    flow = f"127.0.0.1:{world.origin.speak_first}"
    with connection, clients.chromium("direct://") as driver:
        driver.get(admin + "/")
        until(lambda: flow in text(driver, "rows"), 20, "the page shows the flow")
        until(lambda: "link is up" in text(driver, "state"), 20, "the page shows the link")
        require("embedded" in text(driver, "deployments"), "the page does not show the deployment")
        loaded = driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        require(all(name.startswith((admin, "data:")) for name in loaded), f"the page fetches {loaded}")
        background = "return getComputedStyle(document.body).backgroundColor"
        light = driver.execute_script(background)
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        require(driver.execute_script(background) != light, "the page is as light in the dark")
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True})
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        require(wide <= 360, f"the page is {wide} px wide on a screen of 360")
        driver.find_element(By.TAG_NAME, "body").send_keys("/")
        focus = driver.switch_to.active_element
        require(focus.get_attribute("id") == "filter", "the key / does not lead to the filter")
        focus.send_keys("nobody")
        until(lambda: flow not in text(driver, "rows"), 5, "the filter hides the flow")
        focus.clear()
        focus.send_keys("127.")
        until(lambda: flow in text(driver, "rows"), 5, "the filter shows the flow")
        driver.find_element(By.CSS_SELECTOR, "#rows button").click()
        until(lambda: flow not in text(driver, "rows"), 10, "the closed flow is gone")
        require(ended(connection), "the closed flow's connection goes on")
        require(not complaints(driver), f"the browser says {complaints(driver)}")
    return "flow shown and closed, nothing fetched from elsewhere"


def ended(connection):
    connection.settimeout(10)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True


def text(driver, element):
    return driver.find_element(By.ID, element).text


def complaints(driver):
    """What the browser's console has got of errors: above all, of the policy."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


@hostile(49)
def dash_markup(world):
    """A host and a deployment with markup in their names are shown as text."""
    node = world.node()
    program, _ = world.proxy(node.deployment(name=MARKUP), node.secrets["e2e"])
    admin = f"http://{admin_of(program)}"
    with clients.chromium("direct://") as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WITH_MARKUP % json.dumps(MARKUP)})
        driver.get(admin + "/")
        until(lambda: MARKUP in text(driver, "rows"), 20, "the host with markup is shown as it is")
        until(lambda: MARKUP in text(driver, "deployments"), 20, "the deployment with markup is shown as it is")
        driver.find_element(By.TAG_NAME, "body").send_keys("l")
        until(lambda: "<img src=x" in text(driver, "log"), 20, "the log shows the name with markup as it is")
        require(driver.title == "relaymux" and not driver.find_elements(By.TAG_NAME, "img"), "the markup is markup")
    return "shown as text"


@hostile(45, 46, 47)
def dash_hostile(world):
    """A page of another origin, and of a name that leads to 127.0.0.1, gets nothing."""
    program, proxy = world.embedded()
    admin = admin_of(program)
    port = admin.rsplit(":", 1)[1]
    connection = clients.socks5(proxy, "127.0.0.1", world.origin.speak_first)
    with connection, clients.chromium("direct://", "--host-resolver-rules=MAP evil.test 127.0.0.1") as driver:
        driver.get(f"http://evil.test:{port}/")
        rebound = driver.find_element(By.TAG_NAME, "body").text
        require("not the host" in rebound and "relaymux" not in driver.title, f"a rebound name shows {rebound!r}")
        for other in (f"http://evil.test:{world.origin.http}", f"http://127.0.0.1:{world.origin.http}"):
            driver.get(other + "/bytes/1")
            got = driver.execute_async_script(CROSS_ORIGIN, f"http://{admin}")
            require("read" not in got and got[3] == "refused", f"{other} gets {got}")
        state = json.loads(status(world, "--admin", admin, "--json").stdout)
        require([flow["port"] for flow in state["flows"]] == [world.origin.speak_first], f"another origin ended a flow: {state['flows']}")
    return "refused: a rebound name, reads and writes of other origins"


@hostile(48)
def dash_token(world):
    """With a token the page asks for it, and shows nothing before."""
    node, token = world.node(), world.secret()
    program, _ = world.proxy(f'[admin]\ntoken = "{token}"\n{node.deployment()}', node.secrets["e2e"])
    with clients.chromium("direct://") as driver:
        driver.get(f"http://{admin_of(program)}/")
        for typed in ("wrong", token):
            until(lambda: driver.find_element(By.ID, "login").is_displayed(), 10, "the page asks for the token")
            require(not driver.find_element(By.ID, "content").is_displayed(), "the page shows something without the token")
            driver.find_element(By.ID, "token").send_keys(typed + "\n")
            if typed == "wrong":
                until(lambda: "not the token" in text(driver, "wrong"), 10, "the page says that the token is wrong")
        for again in (False, True):
            until(lambda: "direct" in text(driver, "deployments"), 10, "the page takes the token")
            if not again:
                driver.refresh()
        require(not driver.get_cookies() and token not in driver.page_source, "the token is in a cookie, or in the page")
    return "asked for once"


def dash_pac(world):
    """A browser that has the PAC file loads a page by two ports of the proxy; without
    the proxy it loads nothing."""
    names_are_unknown_here()
    program, _ = world.embedded(hosts=True, ports=2)
    with clients.chromium(None, f"--proxy-pac-url=http://{admin_of(program)}/proxy.pac",
                          "--host-resolver-rules=MAP here.test 127.0.0.1") as driver:
        seconds = clients.load_page(driver, HOSTS, world.origin.http)
        program.kill()
        here = f"http://here.test:{world.origin.http}/page?objects=0&hosts=x"
        try:
            driver.get(here)
        except WebDriverException as refused:
            require("ERR_PROXY_CONNECTION_FAILED" in refused.msg, f"without the proxy: {refused.msg}")
        else:
            raise Failed("the browser goes past the proxy")
    return f"60 of 60 objects in {seconds:.2f} s; without the proxy nothing"


def pac_shards(world):
    """Two objects from each of 300 names through a relay of 1.5 s, by the PAC file of one
    port and by that of four: a browser opens only so many connections to one proxy."""
    world.hosts = [f"n{i}.e2e.test" for i in range(300)]
    objects, seconds = 2 * len(world.hosts), {}
    for ports in (1, SHARDS):
        program, _, _ = world.through_relay(flags=("--proxy", ",".join(["127.0.0.1:0"] * ports)))
        with clients.chromium(None, f"--proxy-pac-url=http://{admin_of(program)}/proxy.pac") as driver:
            clients.load_page(driver, world.hosts[:1], world.origin.http, 1)  # the link is made, the PAC file is there
            seconds[ports] = clients.load_page(driver, world.hosts, world.origin.http, objects)
    require(seconds[SHARDS] < seconds[1], f"sharding gains nothing: {seconds}")
    return f"{objects} of {objects}: by 1 port {seconds[1]:.2f} s, by {SHARDS} {seconds[SHARDS]:.2f} s, ratio {seconds[1] / seconds[SHARDS]:.2f}"


def dash_status(world):
    """relaymux status by the socket and by the address; exit code 1 when nothing runs."""
    gone = status(world)
    require(gone.returncode == 1 and "no relaymux is running" in gone.stderr, f"with nobody there: {gone}")
    program, proxy = world.embedded(XDG_RUNTIME_DIR=world.directory)
    admin = admin_of(program)
    with clients.socks5(proxy, "127.0.0.1", world.origin.speak_first):
        for way, table in (("the socket", status(world)), ("the address", status(world, "--admin", admin))):
            require(table.returncode == 0 and f"127.0.0.1:{world.origin.speak_first}" in table.stdout, f"by {way}: {table}")
        require(json.loads(status(world, "--json").stdout)["totals"]["flows_open"] == 1, "the JSON shows another number of flows")
    return table.stdout.splitlines()[0]


def status(world, *flags):
    environ = {"HOME": world.directory, "XDG_RUNTIME_DIR": world.directory, "RELAYMUX_ADMIN_LISTEN": "127.0.0.1:1"}
    return subprocess.run([world.tools.relaymux, "status", *flags], env=environ, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=20, check=False)


CHECKS = [(dash_page, 60), (dash_markup, 60), (dash_hostile, 60), (dash_token, 60), (dash_pac, 60), (pac_shards, 120), (dash_status, 30)]
