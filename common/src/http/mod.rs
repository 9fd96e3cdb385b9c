//! HTTP/1.1 without IO: bytes in, values and bytes out. The style reads, writes and waits.

pub(crate) mod body;
pub mod conn;
pub mod get;
pub mod page;
pub mod request;
