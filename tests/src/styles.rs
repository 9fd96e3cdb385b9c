//! The properties of a style; [`for_every_style`](crate::for_every_style) has the table.

use std::path::{Path, PathBuf};

use common::limits::max_connections;

use crate::peers::Full;

/// One of the eight styles: a program, and on which loop it runs.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub name: &'static str,
    pub program: &'static str,
    /// The value for `--loop`, if it has several loops.
    pub event_loop: Option<&'static str>,
    /// The folder of its ten workloads in the workspace.
    pub folder: &'static str,
    /// How many pages it can fetch at once.
    pub pages: usize,
    /// How many connections its server holds at once.
    pub connections: usize,
    /// What its server does with one more connection.
    pub full: Full,
    /// Whether the kernel takes the core away from its tasks.
    pub preempted: bool,
    /// Whether it computes in another thread or process, so that the heart goes on beating.
    pub computes_apart: bool,
}

impl Style {
    /// The file of a workload, relative to the workspace.
    pub fn file(&self, workload: &str) -> PathBuf {
        Path::new(self.folder).join(workload.replace('-', "_") + ".rs")
    }

    /// The arguments that select this style's loop, if it has several.
    pub fn choice(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.event_loop.into_iter().flat_map(|name| ["--loop", name])
    }
}

/// The properties of most styles: all tasks on one thread, which they yield by themselves.
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
