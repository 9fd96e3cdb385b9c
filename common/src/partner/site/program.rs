//! The site as a program.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use crate::partner::site::control::Control;
use crate::partner::site::listener::{listen, refusing};
use crate::partner::site::web::Web;

/// The program `site`. With a port it runs by hand, until it is interrupted. Without one it belongs
/// to the program that started it, and ends with that program.
pub fn main(port: Option<u16>) -> ExitCode {
    match program(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("site: {error}");
            ExitCode::FAILURE
        }
    }
}

fn program(port: Option<u16>) -> io::Result<()> {
    let listener = listen(port.unwrap_or(0))?;
    let (_unheard, refused) = refusing()?;
    let address = listener.local_addr()?;
    let commands = io::stdin().as_fd().try_clone_to_owned()?;
    let answers = io::stdout().as_fd().try_clone_to_owned()?;
    let mut control = Control::new(commands, answers, port.is_some());
    control.say(&format!("site http://{address} refused http://{refused}"))?;
    Web::new(listener, control)?.run()
}
