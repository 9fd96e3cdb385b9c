//! What only Twisted has.

pub mod chat;
mod chat_room;
pub mod clock;
pub mod deferreds;
pub mod inline_callbacks;
pub mod reactor;
mod reactor_costs;
