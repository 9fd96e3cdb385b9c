//! What the poll loops of the partners share.

use std::io::{self, ErrorKind};

use polling::{AsRawSource, AsSource, Event, PollMode, Poller};

/// Adds a source to the poller, in level mode: events come as long as their condition holds.
#[expect(unsafe_code, reason = "polling leaves the lifetime of sources to its user")]
pub fn add(
    poller: &Poller,
    source: impl AsRawSource + AsSource,
    interest: Event,
) -> io::Result<()> {
    // SAFETY: a source must be deleted from the poller before it is closed. `Web::remove` and
    // `Clients::advance` do so with their connections; all other sources outlive the poller,
    // which is the first field of both, and is dropped first.
    unsafe { poller.add_with_mode(source, interest, PollMode::Level) }
}

/// Changes which events of a source are reported.
pub fn modify(poller: &Poller, source: impl AsSource, interest: Event) -> io::Result<()> {
    poller.modify_with_mode(source, interest, PollMode::Level)
}

/// Whether to try again after the next event.
pub fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
