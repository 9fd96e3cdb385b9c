//! What only Twisted has, each shown by itself.

pub mod chat;
mod chat_room;
pub mod clock;
pub mod deferreds;
pub mod inline_callbacks;
pub mod reactor;
mod reactor_costs;
