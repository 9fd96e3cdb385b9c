//! What a workload is run with.

use std::io;

use crate::machine::Machine;
use crate::partner::site::handle::Site;
use crate::style::Style;

/// The style, the machine, and the partner that the style's clients fetch from.
pub struct Context<'a> {
    pub style: &'a Style,
    /// All styles of this program: its loops, where it has several.
    pub styles: &'a [Style],
    pub machine: Machine,
    /// How often each workload is run.
    pub repeat: usize,
    site: Option<Site>,
}

impl<'a> Context<'a> {
    pub fn new(
        style: &'a Style,
        styles: &'a [Style],
        machine: Machine,
        repeat: usize,
    ) -> Context<'a> {
        Context { style, styles, machine, repeat, site: None }
    }

    /// The web site, a process of its own, started when it is first needed.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn site(&mut self) -> io::Result<&mut Site> {
        if self.site.is_none() {
            self.site = Some(Site::start()?);
        }
        Ok(self.site.as_mut().expect("it was just started"))
    }
}
