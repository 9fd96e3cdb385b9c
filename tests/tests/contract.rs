//! What every program promises on the command line: its flags and their limits, its messages, its
//! exit codes; and that it leaves nothing behind, at any kind of end.

use std::fs::{self, File};
use std::time::Instant;

use common::partner::site::control::Stats;
use common::partner::site::handle::Site;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use tests::programs::{Output, Running, Setup, run, start, workspace};
use tests::sites::{SiteByHand, until};
use tests::styles::{STYLES, Style, THREADS};
use tests::{deadline, traces};

tests::for_every_style! {
    list_says_what_there_is,
    help_is_there_for_all_of_it,
    wrong_input_is_exit_2_and_a_sentence,
    sizes_beyond_what_it_can_hold,
    too_few_descriptors,
    a_name_without_an_address,
    a_full_disk,
    json_is_one_document,
    json_of_everything_on_one_core,
    a_trace_for_perfetto,
    repeated_runs_are_counted,
    one_core_is_one_core,
    failures_and_repeated_runs_fit,
    color_only_on_a_terminal,
    a_terminal_gets_what_fits_on_it,
    head_ends_it_quietly,
    nobody_hears_it,
    nothing_is_left_after_the_end,
    nothing_is_left_after_ctrl_c,
    nothing_is_left_after_a_kill,
}

// ---- words ---------------------------------------------------------------------------------

fn names(style: &Style) -> Vec<String> {
    let list = run(style, &["list"]).answer();
    list.lines()
        .skip(1)
        .map(|line| line.split(' ').next().unwrap_or_default().to_string())
        .collect()
}

fn list_says_what_there_is(style: &Style) {
    let output = run(style, &["list"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    output.fits();
    for line in output.stdout.lines().skip(1) {
        // A name, what it is about, the slides.
        assert!(line.ends_with(|last: char| last.is_ascii_digit()), "{line}");
    }
    assert_eq!(names(style)[..2], ["io-bound", "cpu-bound"]);
}

/// All programs list the same workloads, and then their own asides.
#[test]
fn the_workloads_are_the_same_everywhere() {
    let is_workload = |name: &String| !name.is_empty() && workloads().contains(name);
    for style in &STYLES {
        let names: Vec<String> = names(style).into_iter().filter(is_workload).collect();
        assert_eq!(names, workloads(), "{}", style.name);
    }
}

fn workloads() -> Vec<String> {
    common::registry::WORKLOADS.iter().map(|workload| workload.name.to_string()).collect()
}

fn help_is_there_for_all_of_it(style: &Style) {
    let mut pages = vec![run(style, &["--help"]), run(style, &["-h"])];
    for name in names(style) {
        pages.push(run(style, &[&name, "--help"]));
    }
    for page in pages {
        assert_eq!((page.code, page.stderr.as_str()), (0, ""));
        assert!(page.stdout.contains(&format!("Usage: {}", style.program)), "{}", page.stdout);
        page.fits();
    }
}

#[test]
fn help_of_io_bound() {
    insta::assert_snapshot!(run(&THREADS, &["io-bound", "-h"]).answer(), @r"
    fetch pages, all at once

    Usage: threads io-bound [OPTIONS] [URL]...

    Arguments:
      [URL]...  Fetch these `http://` URLs instead of pages of the built-in site

    Options:
          --pages <N>        How many pages to fetch [default: 20]
          --quiet            Print the answers only
          --answers          Print all lines of the answers, on a terminal too
          --latency <TIME>   How long the site takes for each page [default: 50ms]
          --at-once <N>      At most N at once: N workers take them from one queue
          --format <FORMAT>  How the report looks: text or json [default: text]
          --trace <FILE>     Write what ran when, for ui.perfetto.dev
          --with-failures    Fetch one page of each broken kind as well
          --cores <N>        Use only N cores
          --timeout <TIME>   A page times out after this time [default: 10s]
          --check            Exit 1 if something that is judged does not hold
          --way <NAME>       Run another of the style's functions
          --repeat <N>       Run each N times: median and spread [default: 1]
      -h, --help             Print help
    ");
}

#[test]
fn help_of_cpu_bound() {
    insta::assert_snapshot!(run(&THREADS, &["cpu-bound", "-h"]).answer(), @r"
    count primes, all at once

    Usage: threads cpu-bound [OPTIONS]

    Options:
          --quiet            Print the answers only
          --tasks <N>        How many counts at once [default: 6]
          --answers          Print all lines of the answers, on a terminal too
          --below <N>        Count the primes below this number [default: 1000000]
          --format <FORMAT>  How the report looks: text or json [default: text]
          --way <NAME>       Run another of the style's functions
          --trace <FILE>     Write what ran when, for ui.perfetto.dev
          --cores <N>        Use only N cores
          --check            Exit 1 if something that is judged does not hold
          --repeat <N>       Run each N times: median and spread [default: 1]
      -h, --help             Print help
    ");
}

// ---- wrong input ---------------------------------------------------------------------------

/// Arguments, and a part of the sentence that says what is wrong with them.
const WRONG: [(&[&str], &str); 33] = [
    (&["nonsense"], "unrecognized subcommand 'nonsense'"),
    (&["--nonsense"], "unexpected argument '--nonsense'"),
    (&["--pages", "3"], "unexpected argument '--pages'"),
    (&["io-bound", "--tasks", "3"], "unexpected argument '--tasks'"),
    (&["cpu-bound", "--pages", "3"], "unexpected argument '--pages'"),
    (&["cpu-bound", "http://127.0.0.1/"], "unexpected argument 'http://127.0.0.1/'"),
    (&["list", "--latency", "1ms"], "unexpected argument '--latency'"),
    (&["io-bound", "--pages"], "a value is required for '--pages <N>'"),
    (&["io-bound", "--pages", "0"], "invalid value '0' for '--pages <N>'"),
    (&["io-bound", "--pages", "-1"], "'-1'"),
    (&["io-bound", "--pages", "many"], "invalid value 'many' for '--pages <N>'"),
    (&["io-bound", "--pages", "1000001"], "invalid value '1000001' for '--pages <N>'"),
    (&["io-bound", "--pages", "99999999999999999999"], "for '--pages <N>'"),
    (&["io-bound", "--at-once", "0"], "invalid value '0' for '--at-once <N>'"),
    (&["io-bound", "--latency", "50"], "a time needs a unit: 50ms, 1.5s"),
    (&["io-bound", "--latency", "2h"], "unknown unit h; use us, ms, s"),
    (&["io-bound", "--latency", "-1s"], "'-1'"),
    (&["io-bound", "--timeout", "0s"], "--timeout 0ms: it is 10ms at least"),
    (&["io-bound", "--timeout", "100000s"], "between 0s and one day"),
    (&["io-bound", "--pages", "3", "http://127.0.0.1/"], "'--pages <N>' cannot be used with"),
    (&["io-bound", "--with-failures", "http://127.0.0.1/"], "cannot be used with"),
    (&["io-bound", "https://127.0.0.1/"], "https://127.0.0.1/: https needs TLS"),
    (&["io-bound", "ftp://127.0.0.1/"], "ftp://127.0.0.1/: not an http:// URL"),
    (&["io-bound", "127.0.0.1/page/1"], "127.0.0.1/page/1: "),
    (&["cpu-bound", "--tasks", "0"], "invalid value '0' for '--tasks <N>'"),
    (&["cpu-bound", "--below", "0"], "invalid value '0' for '--below <N>'"),
    (&["cpu-bound", "--below", "100000001"], "invalid value '100000001' for '--below <N>'"),
    (&["--repeat", "0"], "invalid value '0' for '--repeat <N>'"),
    (&["--cores", "0"], "invalid value '0' for '--cores <N>'"),
    (&["--cores", "4096"], "--cores 4096: this program may use "),
    (&["list", "--quiet"], "--quiet: not for the command list"),
    (&["serve", "--repeat", "2"], "--repeat: not for the command serve"),
    (&["--format", "xml"], "invalid value 'xml' for '--format <FORMAT>'"),
];

fn wrong_input_is_exit_2_and_a_sentence(style: &Style) {
    for (args, sentence) in WRONG {
        refused(&run(style, args), sentence);
    }
    if style.event_loop.is_none() {
        refused(&run(style, &["--loop", "tokio"]), "unexpected argument '--loop'");
        refused(&run(style, &["io-bound", "--loop", "smol"]), "unexpected argument '--loop'");
    }
}

#[test]
fn a_loop_that_is_none() {
    for style in STYLES.iter().filter(|style| style.event_loop.is_some()) {
        let style = Style { event_loop: Some("uvloop"), ..*style };
        refused(&run(&style, &["io-bound"]), "[possible values: tokio, async-std, smol]");
    }
}

#[test]
fn the_first_loop_is_tokio() {
    for style in STYLES.iter().filter(|style| style.event_loop.is_some()) {
        let silent = Style { event_loop: None, ..*style };
        let json = document(&run(&silent, &["cpu-bound", "--below", "9", "--format", "json"]));
        assert_eq!(json["style"], "on_tokio");
        let json = document(&run(style, &["cpu-bound", "--below", "9", "--format", "json"]));
        assert_eq!(json["style"], style.name);
    }
}

#[track_caller]
fn refused(output: &Output, sentence: &str) {
    let Output { stdout, stderr, code } = output;
    assert_eq!((*code, stdout.as_str()), (2, ""), "{sentence}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains(sentence), "{sentence}: {stderr}");
}

fn sizes_beyond_what_it_can_hold(style: &Style) {
    refused(&run(style, &["io-bound", "--pages", "1000000"]), "use --at-once)");
}

fn too_few_descriptors(style: &Style) {
    let args = ["io-bound", "--quiet", "--pages", "150", "--latency", "1ms"];
    let output = Setup::in_shell(r#"ulimit -n 100; exec "$0" "$@""#, style, &args).run();
    refused(&output, "150 pages: the descriptors do for ");
    let args = [&args[..], &["--at-once", "20"]].concat();
    let output = Setup::in_shell(r#"ulimit -n 100; exec "$0" "$@""#, style, &args).run();
    assert_eq!(output.answer().lines().count(), 150);
}

fn a_name_without_an_address(style: &Style) {
    // No name server is asked: a label may have at most 63 characters.
    let url = format!("http://{}.example/", "a".repeat(64));
    let site = Site::in_thread().expect("a site");
    let page = format!("http://{}/page/1", site.address());
    let output = run(style, &["io-bound", "--quiet", &url, &page]);
    assert_eq!(output.code, 1, "{style:?}: {}", output.stderr);
    let (lost, come) = output.stdout.split_once('\n').expect("a line per page");
    assert_eq!(lost, format!("{url}  host not found"));
    assert!(come.contains("  200 "), "{style:?}: the other page comes, not: {come}");
}

fn a_full_disk(style: &Style) {
    let full = || File::create("/dev/full").expect("Linux has it");
    let setup = Setup::new(style, &["io-bound", "--pages", "2", "--quiet"]);
    let mut running = setup.with(|command| _ = command.stdout(full())).start();
    let code = running.wait().code();
    assert_eq!(code, Some(1));
    assert!(running.finish().stderr.starts_with("error: cannot print: "));

    let args = ["io-bound", "--pages", "2", "--quiet", "--trace", "/nowhere/run.json"];
    let output = run(style, &args);
    assert_eq!(output.code, 1);
    assert!(output.stderr.starts_with("error: /nowhere/run.json: "), "{}", output.stderr);
}

// ---- JSON and traces -----------------------------------------------------------------------

#[track_caller]
fn document(output: &Output) -> Value {
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    serde_json::from_str(&output.stdout).expect("one document, and nothing else")
}

fn json_is_one_document(style: &Style) {
    let plain = run(style, &["io-bound", "--pages", "3", "--quiet"]).answer();
    let json = document(&run(style, &["io-bound", "--pages", "3", "--format", "json"]));
    head_is_right(style, &json);
    let workloads = json["workloads"].as_object().expect("an object");
    assert_eq!(workloads.keys().collect::<Vec<_>>(), ["io-bound"]);
    assert_eq!(json["asides"], serde_json::json!({}));
    let section = &json["workloads"]["io-bound"];
    section_is_right(section);
    assert_eq!(section["answer"], serde_json::json!(plain.lines().collect::<Vec<_>>()));
    for task in 0..3 {
        let spans = section["spans"].as_array().expect("an array").iter();
        assert!(spans.filter(|span| span["task"] == task).count() >= 2, "task {task}");
    }
}

/// On one core much cannot be measured, but nothing may be called wrong.
fn json_of_everything_on_one_core(style: &Style) {
    let shell = r#"exec taskset -c 0 "$0" "$@""#;
    let json = document(&Setup::in_shell(shell, style, &["--format", "json"]).run());
    head_is_right(style, &json);
    assert_eq!(json["cores"], 1);
    let sections = ["workloads", "asides"].map(|part| json[part].as_object().expect("an object"));
    let mut told: Vec<&String> = sections.iter().flat_map(|section| section.keys()).collect();
    let mut names = names(style);
    names.retain(|name| name != "serve");
    told.sort();
    names.sort();
    assert_eq!(told, names.iter().collect::<Vec<_>>());
    sections.iter().flat_map(|section| section.values()).for_each(section_is_right);
    let claims = json["claims"].as_array().expect("an array");
    assert!(!claims.is_empty());
    claims.iter().for_each(claim_is_right);
    claims.iter().filter(|claim| claim["verdict"] == "read it").for_each(can_be_read);
}

/// A claim without a number names a file that exists, and a function in it.
#[track_caller]
fn can_be_read(claim: &Value) {
    let place = claim["evidence"].as_str().expect("a text");
    let (file, what) = place.split_once([',', ':']).expect("a file, and what is in it");
    let text = fs::read_to_string(workspace().join(file));
    let text = text.unwrap_or_else(|error| panic!("{place}: {error}"));
    let is_source = file.ends_with("rs");
    assert!(
        !is_source
            || text.contains(&format!("fn {}(", what.split(';').next().unwrap_or(what).trim())),
        "{place}"
    );
}

#[track_caller]
fn head_is_right(style: &Style, json: &Value) {
    let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
    let mut expected =
        ["program", "style", "profile", "cores", "machine", "date", "commit"].to_vec();
    expected.extend(["workloads", "asides", "claims"]);
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!((&json["program"], &json["style"]), (&style.program.into(), &style.name.into()));
    assert!(json["machine"]["kernel"].is_string() && json["machine"]["cpu"].is_string());
    assert!(json["date"].as_str().is_some_and(|date| date.ends_with('Z')));
    assert_eq!(json["profile"], if cfg!(debug_assertions) { "debug" } else { "release" });
    assert!(json["cores"].as_u64() >= Some(1));
}

#[track_caller]
fn section_is_right(section: &Value) {
    assert_eq!(section["ok"], true, "{section}");
    let answer = section["answer"].as_array().expect("an array");
    assert!(answer.iter().all(Value::is_string));
    assert!(section["measured"].is_object() && section["slides"].is_string());
    // A workload says what every style is expected to show; an aside does not.
    let expectation = &section["expectation"];
    assert!(expectation.is_null() || expectation["verdict"] != "does not hold", "{section}");
    for time in ["wall_s", "baseline_s", "limit_s"] {
        assert!(section[time].is_null() || section[time].as_f64() >= Some(0.0), "{section}");
    }
    for span in section["spans"].as_array().expect("an array") {
        assert!(["waiting", "running", "preempted"].contains(&span["kind"].as_str().unwrap_or("")));
        assert!(span["from_us"].as_u64() <= span["to_us"].as_u64());
        assert!(span["task"].is_u64() && span["pid"].is_i64() && span["thread"].is_i64(), "{span}");
    }
}

#[track_caller]
fn claim_is_right(claim: &Value) {
    for field in ["id", "slide", "says", "evidence"] {
        assert!(claim[field].as_str().is_some_and(|text| !text.is_empty()), "{claim}");
    }
    let verdicts = ["holds", "differs in Rust", "not measurable here", "read it"];
    assert!(verdicts.contains(&claim["verdict"].as_str().unwrap_or("")), "{claim}");
}

fn a_trace_for_perfetto(style: &Style) {
    let file = std::env::temp_dir().join(format!("trace-{}-{}", std::process::id(), style.name));
    let name = file.to_str().expect("it is ASCII");
    for workload in ["io-bound", "cpu-bound"] {
        let size: &[&str] = if workload == "cpu-bound" { &["--below", "100000"] } else { &[] };
        let args = [&[workload, "--quiet", "--trace", name], size].concat();
        run(style, &args).answer();
        let trace = fs::read_to_string(&file).expect("it was written");
        fs::remove_file(&file).expect("it was written");
        let trace: Value = serde_json::from_str(&trace).expect("JSON");
        trace_is_right(workload, trace["traceEvents"].as_array().expect("an array"));
    }
}

/// Chrome's trace format: complete events need a name, a time, a duration and a lane (pid and tid).
/// Within a lane they may follow each other or be nested; ours follow each other.
#[track_caller]
fn trace_is_right(workload: &str, events: &[Value]) {
    let mut lanes = std::collections::BTreeMap::<_, Vec<(u64, u64)>>::new();
    for event in events {
        let lane = (event["pid"].as_u64(), event["tid"].as_u64());
        assert!(event["name"].is_string() && lane.0.is_some() && lane.1.is_some(), "{event}");
        match event["ph"].as_str() {
            Some("M") => assert!(event["args"]["name"].is_string(), "{event}"),
            Some("X") => {
                let from = event["ts"].as_u64().expect("microseconds");
                let took = event["dur"].as_u64().expect("microseconds");
                lanes.entry(lane).or_default().push((from, from + took));
            }
            _ => panic!("an event of another kind: {event}"),
        }
    }
    assert_eq!(lanes.len(), if workload == "io-bound" { 20 } else { 6 });
    for (lane, mut spans) in lanes {
        spans.sort_unstable();
        assert!(spans.windows(2).all(|two| two[0].1 <= two[1].0), "{lane:?}: {spans:?}");
    }
}

fn repeated_runs_are_counted(style: &Style) {
    for (workload, flag) in [("io-bound", "--pages"), ("cpu-bound", "--below")] {
        let args = [workload, flag, "5", "--repeat", "3", "--format", "json"];
        let json = document(&run(style, &args));
        let runs = json["workloads"][workload]["measured"]["runs"].as_array();
        assert_eq!(runs.map(Vec::len), Some(3));
        let output = run(style, &[workload, flag, "5", "--repeat", "3"]);
        assert!(output.stderr.contains("3 runs"), "{}", output.stderr);
        let output = run(style, &[workload, flag, "5"]);
        assert!(output.stderr.contains("1 run, "), "{}", output.stderr);
    }
}

// ---- cores ---------------------------------------------------------------------------------

/// The kernel reports it for the program and its tasks. The site keeps the other cores.
fn one_core_is_one_core(style: &Style) {
    let (mut site, running) = stalled(style, &["--cores", "1"]);
    for pid in traces::marked(running.mark()) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let cores = cores.expect("the kernel says so").trim();
        let is_site = traces::command_line(pid).trim_end().ends_with(" site");
        assert!(is_site || cores.parse::<u32>().is_ok(), "cores {cores} of {pid}");
    }
    drop(running);
    until(&mut site, |stats| stats.open == 0);
    let args = ["cpu-bound", "--below", "9", "--cores", "1", "--format", "json"];
    assert_eq!(document(&run(style, &args))["cores"], 1);
}

// ---- what a room sees ----------------------------------------------------------------------

fn failures_and_repeated_runs_fit(style: &Style) {
    let output = run(style, &["io-bound", "--with-failures", "--repeat", "2"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    output.fits();
}

fn color_only_on_a_terminal(style: &Style) {
    const ESCAPE: char = '\x1b';
    let args = ["io-bound", "--pages", "2", "--latency", "1ms"];
    let output = run(style, &args);
    assert!(!output.stderr.contains(ESCAPE) && !output.stdout.contains(ESCAPE));
    let (seen, code) = Setup::new(style, &args).env("TERM", "xterm").run_on_terminal(SCREEN);
    assert!(code == 0 && seen.contains(ESCAPE), "{seen}");
    let setup = Setup::new(style, &args).env("TERM", "xterm").env("NO_COLOR", "1");
    let (seen, code) = setup.run_on_terminal(SCREEN);
    assert!(code == 0 && !seen.contains(ESCAPE), "{seen}");
}

/// A small projector: columns and rows.
const SCREEN: (u16, u16) = (80, 24);

fn a_terminal_gets_what_fits_on_it(style: &Style) {
    let seen_on = |screen, flags: &[&str]| {
        let args = [&["io-bound", "--latency", "1ms"], flags].concat();
        let setup = Setup::new(style, &args).env("TERM", "dumb");
        let (seen, code) = setup.run_on_terminal(screen);
        assert_eq!(code, 0, "{style:?}: {seen}");
        seen
    };
    for screen in [SCREEN, (120, 40), (50, 24)] {
        let seen = seen_on(screen, &[]);
        assert!(!seen.contains('\x1b'), "{style:?}: a dumb terminal has no colors: {seen}");
        assert!(seen.contains("/page/2 ") && !seen.contains("/page/3 "), "{style:?}: {seen}");
        assert!(seen.contains("… and 17 more, all as expected (--answers)"), "{style:?}: {seen}");
        let wide = seen.lines().find(|line| line.chars().count() > screen.0.into());
        assert_eq!(wide, None, "{style:?}: more than {} columns", screen.0);
    }
    for all in ["--answers", "--quiet"] {
        let seen = seen_on(SCREEN, &[all]);
        let lines = seen.lines().filter(|line| line.contains("  200 ")).count();
        assert_eq!(lines, 20, "{style:?}: {all} shows all lines: {seen}");
    }
}

/// Each section of a full run fits, or says what it leaves out.
#[test]
fn a_section_is_no_longer_than_a_screen() {
    let setup = Setup::new(&THREADS, &[""; 0]).env("TERM", "dumb");
    let (seen, code) = setup.run_on_terminal(SCREEN);
    assert_eq!(code, 0, "{seen}");
    let (sections, _) = seen.split_once("what the talk claims").expect("claims are judged");
    let sections: Vec<&str> = sections.split("\r\n\r\n").collect();
    assert!(sections.len() > 10, "ten workloads and asides, not {}", sections.len());
    for section in sections {
        let lines = section.lines().count();
        assert!(lines < SCREEN.1.into(), "{lines} lines and a prompt:\n{section}");
    }
}

fn head_ends_it_quietly(style: &Style) {
    let commands: [&[&str]; 5] = [
        &["list"],
        &["--help"],
        &["io-bound", "--quiet"],
        &["io-bound", "--format", "json"],
        &["cpu-bound", "--quiet", "--below", "9"],
    ];
    for args in commands {
        let mut running = start(style, args);
        running.close_output();
        let output = running.finish();
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{args:?}");
    }
}

/// With stderr closed the answer is the same.
fn nobody_hears_it(style: &Style) {
    let args = ["io-bound", "--pages", "3", "--latency", "1ms"];
    let expected = run(style, &args).answer();
    for silence in ["2>&-", "2>/dev/full"] {
        let shell = format!(r#"exec "$0" "$@" {silence}"#);
        assert_eq!(Setup::in_shell(&shell, style, &args).run().answer(), expected);
    }
    let shell = r#"exec "$0" "$@" <&-"#;
    assert_eq!(Setup::in_shell(shell, style, &args).run().answer(), expected);
}

// ---- leftovers -----------------------------------------------------------------------------

fn nothing_is_left_after_the_end(style: &Style) {
    let mut site = SiteByHand::start(&THREADS);
    let urls = ["/page/1", "/page/2?delay=20", "/reset", "/truncated", "/stall"];
    let urls = urls.map(|path| format!("{}{path}", site.url));
    let flags = ["io-bound", "--quiet", "--timeout", "500ms"];
    let args: Vec<&str> = flags.into_iter().chain(urls.iter().map(String::as_str)).collect();
    let running = start(style, &args);
    let mark = running.mark().to_string();
    assert_eq!(running.finish().code, 1);
    assert_eq!(traces::leftovers(&mark), [""; 0]);
    // The site notices that all clients are gone; only its own listener is left on its port.
    let deadline = deadline();
    while site.stats().open > 0 || traces::sockets(site.port) > 1 {
        assert!(Instant::now() < deadline, "{:?}", site.stats());
    }
    // With a site of its own.
    let running = start(style, &["io-bound", "--quiet", "--repeat", "2"]);
    let mark = running.mark().to_string();
    running.finish().answer();
    assert_eq!(traces::leftovers(&mark), [""; 0]);
}

fn nothing_is_left_after_ctrl_c(style: &Style) {
    let (mut site, running) = stalled(style, &[]);
    running.signal(Signal::SIGINT);
    let mark = running.mark().to_string();
    let output = running.finish();
    assert_eq!((output.code, output.stderr.as_str()), (130, ""));
    assert_eq!(traces::leftovers(&mark), [""; 0]);
    until(&mut site, |stats| stats.open == 0);

    // With a site of its own: the terminal sends the signal to the program, not to the site.
    let running = start(style, &FAR_AWAY);
    own_site(&running);
    running.signal(Signal::SIGINT);
    let mark = running.mark().to_string();
    assert_eq!(running.finish().code, 130);
    assert_eq!(traces::leftovers(&mark), [""; 0]);
}

fn nothing_is_left_after_a_kill(style: &Style) {
    let (mut site, mut running) = stalled(style, &[]);
    running.signal(Signal::SIGKILL);
    running.wait();
    assert_eq!(traces::leftovers(running.mark()), [""; 0]);
    until(&mut site, |stats| stats.open == 0);

    let mut running = start(style, &FAR_AWAY);
    own_site(&running);
    running.signal(Signal::SIGKILL);
    running.wait();
    assert_eq!(traces::leftovers(running.mark()), [""; 0]);
}

const FAR_AWAY: [&str; 6] = ["io-bound", "--quiet", "--latency", "60s", "--timeout", "60s"];

/// A program that waits for pages that are never answered.
fn stalled(style: &Style, flags: &[&str]) -> (Site, Running) {
    let mut site = Site::in_thread().expect("a site");
    let url = format!("http://{}/stall", site.address());
    let urls = [url.as_str(); 5];
    let args = [&["io-bound", "--quiet", "--timeout", "600s"], flags, &urls].concat();
    let running = start(style, &args);
    until(&mut site, |stats| stats.open == 5);
    (site, running)
}

/// Waits until the program has started its site.
#[track_caller]
fn own_site(running: &Running) -> Pid {
    let deadline = deadline();
    loop {
        let mut processes = traces::marked(running.mark()).into_iter();
        let is_site = |pid: &Pid| traces::command_line(*pid).trim_end().ends_with(" site");
        if let Some(site) = processes.find(is_site) {
            return site;
        }
        assert!(Instant::now() < deadline, "no site");
    }
}

// ---- the site, started by hand -------------------------------------------------------------

#[test]
fn a_site_by_hand_takes_commands() {
    let mut site = SiteByHand::start(&THREADS);
    assert_eq!(site.stats(), Stats::default());
    let url = format!("{}/page/1", site.url);
    let expected = run(&THREADS, &["io-bound", "--quiet", "--pages", "2"]).answer();
    let answer = run(&THREADS, &["io-bound", "--quiet", &url]).answer();
    let facts = |answer: &str| {
        answer.lines().last().map(|line| line.split_once("  ").map(|l| l.1.to_string()))
    };
    assert_eq!(facts(&answer), facts(&expected));
    let one = Stats { most_open: 1, served: 1, connections: 1, ..Stats::default() };
    assert_eq!(site.stats(), one);
    assert_eq!(site.ask("reset"), "ok");
    assert_eq!(site.stats(), Stats::default());
    assert_eq!(site.ask("nonsense"), "commands: stats, reset");
}

#[test]
fn a_site_by_hand_serves_until_it_is_interrupted() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut running = start(&THREADS, &["site", "--port", "0"]);
        drop(running.input());
        let line = running.first_line();
        let url = line.split(' ').nth(1).expect("it says where it listens");
        // Its input has ended, but it still serves.
        run(&THREADS, &["io-bound", "--quiet", url]).answer();
        running.signal(signal);
        running.wait();
        assert_eq!(traces::leftovers(running.mark()), [""; 0]);
    }
}

#[test]
fn a_port_that_is_taken() {
    let site = SiteByHand::start(&THREADS);
    let output = run(&THREADS, &["site", "--port", &site.port.to_string()]);
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert!(output.stderr.starts_with("site: Address already in use"), "{}", output.stderr);
}
