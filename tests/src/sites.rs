//! Web sites: started by hand as a user would, and waiting for their counts.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::time::Instant;

use common::partner::site::control::Stats;
use common::partner::site::handle::Site;

use crate::deadline;
use crate::programs::{Running, start};
use crate::styles::Style;

/// Asks the site until its counts are as they should be.
#[track_caller]
pub fn until(site: &mut Site, what: impl Fn(Stats) -> bool) {
    let deadline = deadline();
    loop {
        let stats = site.stats().expect("the site answers");
        if what(stats) {
            return;
        }
        assert!(Instant::now() < deadline, "{stats:?}");
    }
}

/// The web site as `threads -- site` starts it, and its commands.
pub struct SiteByHand {
    running: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where it listens: `http://` and the address.
    pub url: String,
    /// An address that nobody listens on, as a URL.
    pub refused: String,
    pub port: u16,
}

impl SiteByHand {
    pub fn start(style: &Style) -> SiteByHand {
        let mut running = start(style, &["site", "--port", "0"]);
        let input = running.input();
        let mut output = BufReader::new(running.output());
        let mut line = String::new();
        output.read_line(&mut line).expect("it says where it listens");
        let word = |n| line.split_whitespace().nth(n).unwrap_or_default().to_string();
        let (url, refused) = (word(1), word(3));
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no address: {line}"));
        SiteByHand { running, input, output, url, refused, port }
    }

    /// Sends a command, and returns its answer.
    pub fn ask(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").expect("the site reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the site answers");
        line.trim_end().to_string()
    }

    /// Its counts.
    pub fn stats(&mut self) -> Stats {
        serde_json::from_str(&self.ask("stats")).expect("a line of JSON")
    }

    pub fn running(&self) -> &Running {
        &self.running
    }
}
