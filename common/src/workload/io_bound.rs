//! io-bound: fetch pages, all at once. Slides 3, 7-8, 17, 28.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::span::Span;

/// One page to fetch.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its place in the input, from 0.
    pub task: usize,
    /// An absolute `http://` URL, checked.
    pub url: String,
    /// The addresses of its host, in the order in which to try them.
    pub addresses: Vec<SocketAddr>,
    /// Its name in the answer. On the built-in site that is the path: the port differs between
    /// runs.
    pub page: String,
    /// How long the page may take.
    pub timeout: Duration,
}

/// The result of a page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub task: usize,
    pub page: String,
    /// The page, or what went wrong, in the same words in every style.
    pub result: Result<Page, String>,
    pub spans: Vec<Span>,
}

/// A page that arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub status: u16,
    /// Bytes of the body.
    pub length: u64,
    pub crc32: u32,
}

impl Outcome {
    /// The outcome's line of the answer.
    pub fn line(&self, width: usize) -> String {
        let page = &self.page;
        match &self.result {
            Ok(Page { status, length, crc32 }) => {
                format!("{page:<width$}  {status} {length:>7} bytes  crc32 {crc32:08x}")
            }
            Err(words) => format!("{page:<width$}  {words}"),
        }
    }
}
