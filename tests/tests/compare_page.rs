//! The page of `compare` in a real browser: Chromium, controlled over a pipe (the `DevTools`
//! protocol: JSON with a zero byte after each message, on descriptors 3 and 4).

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tests::programs::workspace;

/// If it is set, a missing browser is a failure.
const REQUIRED: &str = "BROWSER_REQUIRED";

/// Chromium, or `None`: then a line has been printed.
fn chromium() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let places = env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    let found = places.into_iter().find(|place| place.exists());
    if found.is_none() {
        assert!(env::var_os(REQUIRED).is_none(), "no Chromium, and {REQUIRED} is set");
        println!("not tested: no Chromium");
    }
    found
}

/// A browser with one page; it ends when this is dropped.
struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    profile: PathBuf,
    session: Option<String>,
    asked: u64,
    events: Vec<Value>,
}

impl Browser {
    fn start(program: &std::path::Path) -> Browser {
        let profile = env::temp_dir().join(format!("compare-page-{}", std::process::id()));
        let flags = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic \
            --no-first-run --disable-background-networking --disable-component-update \
            --disable-sync --remote-debugging-pipe";
        // The shell moves its own input and output to the descriptors that the browser uses.
        let script = format!("exec \"$0\" {flags} --user-data-dir=\"$1\" 3<&0 4>&1 </dev/null >&2");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(program).arg(&profile);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("there is a shell");
        let to = child.stdin.take().expect("it is a pipe");
        let from = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut browser =
            Browser { child, to, from, profile, session: None, asked: 0, events: Vec::new() };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.ask("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(String::from);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        write!(self.to, "{message}\0").expect("the browser reads");
        loop {
            let mut said = self.next();
            if said["id"] == self.asked {
                assert!(said["error"].is_null(), "{method}: {}", said["error"]);
                return said["result"].take();
            }
            self.events.push(said);
        }
    }

    fn next(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).expect("the browser answers");
        bytes.pop();
        serde_json::from_slice(&bytes).expect("the browser speaks JSON until it is closed")
    }

    fn open(&mut self, url: &str) {
        self.ask("Page.navigate", json!({"url": url}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let said = self.next();
            self.events.push(said);
        }
    }

    /// The value of an expression on the page.
    fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        let mut answer = self.ask("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    fn press(&mut self, key: &str, code: &str, shift: bool) {
        for kind in ["keyDown", "keyUp"] {
            let modifiers = if shift { 8 } else { 0 };
            let params = json!({"type": kind, "key": key, "code": code, "modifiers": modifiers});
            self.ask("Input.dispatchKeyEvent", params);
        }
    }

    fn hash(&mut self) -> String {
        let hash = self.eval("decodeURIComponent(location.hash)");
        hash.as_str().expect("it is text").to_string()
    }

    fn window(&mut self, width: usize, height: usize) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", size);
        // Two frames later the page has handled the event, and has placed everything again.
        let frames = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))";
        let params = json!({"expression": frames, "awaitPromise": true});
        self.ask("Runtime.evaluate", params);
    }

    fn of_kind(&self, method: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["method"] == method).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

/// The page of a real run of two styles; the others are shown as not run.
fn page() -> PathBuf {
    let page = tests::programs::target().join("tmp/compare-page.html");
    fs::create_dir_all(page.parent().expect("it lies in a folder")).expect("it can be made");
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    command.args(["--styles", "threads,on_tokio", "--format", "csv", "--html"]).arg(&page);
    tests::programs::without_cargos_words(&mut command);
    let output = command.output().expect("it was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    page
}

/// Both halves of every row have the same height, nothing is wider than the window, and no part of
/// the head overlaps another.
const PLACED: &str = r"(() => {
    const wrong = [];
    for (const tr of document.querySelectorAll('table.code tr')) {
        const high = [...tr.cells].map(cell => cell.getBoundingClientRect().height);
        if (high.some(h => Math.abs(h - high[0]) > 0.5)) wrong.push('row ' + tr.textContent);
    }
    const wide = document.documentElement.scrollWidth;
    if (wide > innerWidth) wrong.push('wide: ' + wide);
    for (const group of ['header', '.strip.p', '.strip.a', '.strip.b', '#functions', '.two']) {
        const parts = [...(document.querySelector(group) || document.body).children]
            .map(e => [e, e.getBoundingClientRect()]).filter(([, r]) => r.width && r.height);
        parts.forEach(([one, a], i) => parts.slice(i + 1).forEach(([other, b]) => {
            const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (x > 1.5 && y > 1.5) wrong.push(`${group}: ${one.textContent} on ${other.textContent}`);
        }));
    }
    return wrong;
})()";

#[test]
fn the_page_in_a_browser() {
    let Some(program) = chromium() else { return };
    let page = page();
    assert!(fs::metadata(&page).expect("it was written").len() < 1_000_000, "1 MB is enough");
    let url = format!("file://{}", page.display());
    let mut browser = Browser::start(&program);
    browser.window(1600, 1000);
    browser.open(&format!("{url}#io-bound/threads/on_tokio/run"));

    // On a page that is empty by mistake, the other checks would pass.
    assert_eq!(browser.eval("document.title"), "io-bound: threads | on_tokio");
    let rows = browser.eval("document.querySelectorAll('table.code tr').length");
    assert!(rows.as_u64() > Some(50), "{rows} rows");
    let waits = browser.eval("document.querySelectorAll('table.code u').length");
    assert!(waits.as_u64() > Some(6), "{waits} waiting calls are underlined");
    let badges = "[...document.querySelectorAll('.badge')].map(b => b.textContent)";
    let badges = browser.eval(badges);
    assert_eq!(badges, json!(["20 of 20 tasks wait here", "20 of 20 tasks wait here"]));

    browser.press("x", "KeyX", false);
    assert!(browser.hash().starts_with("#io-bound/on_tokio/threads/run"));
    browser.press("x", "KeyX", false);
    browser.press("j", "KeyJ", false);
    assert!(browser.hash().starts_with("#io-bound/threads/on_tokio/fetch"));
    browser.press("5", "Digit5", false);
    browser.press("\"", "Digit2", true);
    assert!(browser.hash().starts_with("#io-bound/twisted-style/processes/"));
    let none = browser.eval("document.querySelectorAll('.picture.none').length");
    assert_eq!(none, 2, "what was not run is hatched");
    browser.press("1", "Digit1", false);
    browser.press("&", "Digit6", true);
    browser.press("i", "KeyI", false);
    assert_eq!(browser.eval("document.querySelectorAll('tr.fold').length"), 0);
    browser.press("ArrowRight", "ArrowRight", false);

    let python = "[...document.querySelectorAll('table.three td.y')].map(y => y.textContent)";
    assert_eq!(browser.eval(python), json!([]));
    browser.press("p", "KeyP", false);
    assert!(browser.hash().ends_with("/python"));
    let python = browser.eval(python);
    let python: Vec<&str> =
        python.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let file = workspace().join("threads/python/io_bound.py");
    let file = fs::read_to_string(file).expect("it is there");
    let code =
        file.lines().skip_while(|line| !line.starts_with("import ")).filter(|l| !l.is_empty());
    let shown = python.into_iter().filter(|line| !line.is_empty());
    assert_eq!(shown.collect::<Vec<_>>(), code.collect::<Vec<_>>(), "every line, in order");
    for (width, height) in [(1280, 720), (1366, 768), (1600, 1000), (1920, 1080)] {
        browser.window(width, height);
        assert_eq!(browser.eval(PLACED), json!([]), "with Python at {width} × {height}");
    }
    browser.press("p", "KeyP", false);
    browser.window(1600, 1000);

    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = browser.eval(ground);
    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser.ask("Emulation.setEmulatedMedia", dark);
    assert_ne!(browser.eval(ground), light, "dark where the system is dark");
    browser.press("t", "KeyT", false);
    assert_eq!(browser.eval(ground), light, "light where a key says so");
    let pdf = browser.ask("Page.printToPDF", json!({"preferCSSPageSize": true}));
    assert!(pdf["data"].as_str().expect("a document").len() > 20_000);

    let workloads = browser.eval("D.workloads.length").as_u64().expect("a number");
    for (width, height) in [(1280, 720), (1366, 768), (1600, 1000), (1920, 1080)] {
        browser.window(width, height);
        for _ in 0..workloads {
            let wrong = browser.eval(PLACED);
            let what = browser.hash();
            assert_eq!(wrong, json!([]), "{what} at {width} × {height}");
            browser.press("w", "KeyW", false);
        }
        browser.press("o", "KeyO", false);
        let cards = browser.eval("document.querySelectorAll('.card').length");
        assert_eq!(cards, 8);
        assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth"), true);
        browser.press("o", "KeyO", false);
    }

    for request in browser.of_kind("Network.requestWillBeSent") {
        let asked = request["params"]["request"]["url"].as_str().expect("an address");
        assert!(asked.starts_with(&url), "asks for {asked}");
    }
    assert!(browser.of_kind("Runtime.exceptionThrown").is_empty());
    assert!(browser.of_kind("Log.entryAdded").is_empty());
}
