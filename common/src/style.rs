//! A style, as its program defines it: its name, how it waits, its version of every workload.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::error::Error;
use crate::limits::Limits;
use crate::workload::cpu_bound::{Count, Counted};
use crate::workload::early_results::Arrivals;
use crate::workload::interactivity::{Beats, Heart};
use crate::workload::io_bound::{Job, Outcome};
use crate::workload::ordering::Steps;
use crate::workload::pause::{Counter, Paused};
use crate::workload::resources::Meter;
use crate::workload::server::ServerStats;
use crate::workload::shared_state::{Bank, Leaves, Totals};

/// Fetches pages.
pub type Fetch = fn(Vec<Job>) -> Vec<Outcome>;

/// Counts primes.
pub type CountPrimes = fn(Vec<Count>) -> Vec<Counted>;

/// What a task consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A thread of the kernel's, with a stack.
    Thread,
    /// A process.
    Process,
    /// A stack of its own, and nothing else.
    Stack,
    /// A value in memory.
    Value,
}

/// One style of the talk: plain data in, plain data out, the same signatures in every style.
#[derive(Clone, Copy)]
pub struct Style {
    /// One of the eight: `threads`, `on_tokio`.
    pub name: &'static str,
    /// The program that it belongs to.
    pub program: &'static str,
    /// The name of the event loop, if the program has several.
    pub event_loop: Option<&'static str>,
    pub slides: &'static str,
    /// What schedules, and how a task waits.
    pub waits: &'static str,
    /// What a task consists of, and so what limits their number.
    pub task: Task,
    /// How many tasks this program starts at once, at most.
    pub at_most: usize,
    pub io_bound: Fetch,
    pub io_bound_bounded: fn(Vec<Job>, usize) -> Vec<Outcome>,
    pub cpu_bound: CountPrimes,
    pub ordering: fn(Vec<Steps>) -> String,
    pub shared_state_careless: fn(&Bank) -> Totals,
    pub shared_state_careful: fn(&Bank) -> Totals,
    pub interactivity_careless: fn(Count, Heart) -> Beats,
    pub interactivity_careful: fn(Count, Heart) -> Beats,
    pub early_results: fn(Vec<Job>, &mut Arrivals),
    pub deadline: fn(Vec<Job>, Duration) -> Vec<Outcome>,
    pub pause: fn(Counter) -> Paused,
    /// How many tasks `resources` starts by default.
    pub idle_tasks: u64,
    pub resources_idle: fn(usize, &mut Meter),
    pub resources_ring: fn(usize, usize) -> usize,
    /// Serves until the second argument reaches its end.
    pub server: fn(TcpListener, UnixStream, Limits) -> io::Result<ServerStats>,
    /// How many connections the server holds at once.
    pub max_connections: usize,
    /// Second functions of a workload, run by `--way NAME`.
    pub also: &'static [Also],
}

/// A second function of a workload, by its name, which gives the same answer.
#[derive(Clone, Copy)]
pub enum Also {
    IoBound(&'static str, Fetch),
    CpuBound(&'static str, CountPrimes),
    SharedState(&'static str, fn(&Bank) -> Totals, Leaves),
}

impl Style {
    /// What its bar in a comparison is called.
    pub fn label(&self) -> &'static str {
        self.event_loop.unwrap_or(self.name)
    }

    /// How many tasks this many descriptors are enough for, if each waits for a socket.
    pub fn tasks_for(&self, descriptors: usize) -> usize {
        match self.task {
            // It needs a pipe for its result and a pidfd for its end.
            Task::Process => descriptors / 2,
            _ => descriptors,
        }
    }

    /// The second function of this name, of those that `find` finds.
    ///
    /// # Errors
    ///
    /// This style has no second function of this name here.
    pub fn way<F>(&self, name: &str, find: fn(&Also) -> Option<(&str, F)>) -> Result<F, Error> {
        let mut ways = self.also.iter().filter_map(find).collect::<Vec<_>>();
        if let Some(at) = ways.iter().position(|(known, _)| *known == name) {
            return Ok(ways.swap_remove(at).1);
        }
        let known: Vec<&str> = ways.iter().map(|(known, _)| *known).collect();
        let known = if known.is_empty() {
            "has none here".into()
        } else {
            format!("has {}", known.join(", "))
        };
        Err(Error::Usage(format!("--way {name}: {} {known}", self.program)))
    }

    /// # Errors
    ///
    /// This style cannot hold so many tasks at once.
    pub fn holds(&self, tasks: u64, things: &str) -> Result<(), Error> {
        let Style { program, at_most, .. } = self;
        if tasks as usize <= *at_most {
            return Ok(());
        }
        Err(Error::Usage(format!("{tasks} {things}: {program} holds {at_most} at once")))
    }
}
