//! HTTP/1.1 without IO: bytes in, values and bytes out. Reading, writing and waiting is the style's.

pub(crate) mod body;
pub mod conn;
pub mod get;
pub mod page;
pub mod request;
