//! What has to be said of a style; [`for_every_style`](crate::for_every_style) has the table.

use std::path::{Path, PathBuf};

use common::limits::max_connections;

use crate::peers::Full;

/// One of the eight styles: a program, and on which loop it runs.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub name: &'static str,
    pub program: &'static str,
    /// What is said to it by `--loop`, where it has several.
    pub event_loop: Option<&'static str>,
    /// Where its ten workloads lie in the workspace.
    pub folder: &'static str,
    /// How many pages it is known to fetch at once.
    pub pages: usize,
    /// How many connections its server holds at once.
    pub connections: usize,
    /// What its server does with one connection more.
    pub full: Full,
    /// Whether the kernel takes the core away from its tasks.
    pub preempted: bool,
    /// Whether it hands what computes to another thread or process, to keep the heart beating.
    pub computes_apart: bool,
}

impl Style {
    /// The file of a workload, seen from the workspace.
    pub fn file(&self, workload: &str) -> PathBuf {
        Path::new(self.folder).join(workload.replace('-', "_") + ".rs")
    }

    /// The arguments that choose this style's loop, where it has several.
    pub fn choice(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.event_loop.into_iter().flat_map(|name| ["--loop", name])
    }
}

/// What is true of most styles: all tasks on one thread, which they hand on by themselves.
const COOPERATIVE: Style = Style {
    name: "",
    program: "",
    event_loop: None,
    folder: "",
    pages: 10_000,
    connections: max_connections::OTHERS,
    full: Full::Told,
    preempted: false,
    computes_apart: true,
};

crate::for_every_style! { @table }
