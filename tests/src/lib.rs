//! Builds and drives the programs of all styles.
//!
//! | module | what lives there |
//! |---|---|
//! | [`styles`] | every style by name |
//! | [`programs`] | built once; run, or started and interrupted |
//! | [`sites`] | web sites, and waiting for what they have counted |
//! | [`traces`] | what a program may leave behind: processes, sockets |
//! | [`costs`] | the shape of the table "what a task costs" |
//! | [`foreign`] | a web server that shares no line with the programs it is fetched from |
//! | [`reports`] | what a program reports as JSON |
//! | [`peers`] | the peers of a server, well-behaved and not |
//! | [`red`] | what a red test says first |

use std::time::{Duration, Instant};

pub mod costs;
pub mod foreign;
pub mod peers;
pub mod programs;
pub mod red;
pub mod reports;
pub mod sites;
pub mod styles;
pub mod traces;

/// The safety timeout of all tests: how long they wait for an event that must come. No test comes
/// near it, not even on a busy machine.
pub const SAFETY: Duration = Duration::from_mins(5);

/// When a test that begins to wait now has waited too long.
pub fn deadline() -> Instant {
    Instant::now() + SAFETY
}

/// Makes a test of every function named, for every style: `cargo test -p tests on_smol::`
/// runs all tests of one style, `cargo test -p tests ::with_failures` one test of all.
#[macro_export]
macro_rules! for_every_style {
    // The one table of styles, in the talk's order.
    (@rows $what:ident $given:tt) => {
        $crate::for_every_style! { @$what $given
            threads THREADS {
                name: "threads", program: "threads", folder: "threads/src",
                pages: 1000, connections: max_connections::THREADS, full: Full::Waits,
                preempted: true,
            }
            processes PROCESSES {
                name: "processes", program: "processes", folder: "processes/src",
                pages: 200, connections: max_connections::PROCESSES, full: Full::Waits,
                preempted: true,
            }
            coroutines COROUTINES {
                name: "coroutines", program: "coroutines", folder: "coroutines/src",
                computes_apart: false,
            }
            gevent_style GEVENT_STYLE {
                name: "gevent-style", program: "gevent-style", folder: "gevent-style/src",
                full: Full::Waits,
            }
            twisted_style TWISTED_STYLE {
                name: "twisted-style", program: "twisted-style", folder: "twisted-style/src",
            }
            on_tokio ON_TOKIO {
                name: "on_tokio", program: "asyncio-style", folder: "asyncio-style/src/on_tokio",
                event_loop: Some("tokio"),
            }
            on_async_std ON_ASYNC_STD {
                name: "on_async_std", program: "asyncio-style",
                folder: "asyncio-style/src/on_async_std", event_loop: Some("async-std"),
            }
            on_smol ON_SMOL {
                name: "on_smol", program: "asyncio-style", folder: "asyncio-style/src/on_smol",
                event_loop: Some("smol"),
            }
        }
    };

    (@table) => { $crate::for_every_style! { @rows constants {} } };
    (@constants {} $($module:ident $style:ident { $($field:ident: $value:expr),* $(,)? })*) => {
        $(pub const $style: Style = Style { $($field: $value,)* ..COOPERATIVE };)*

        /// All of them, in the talk's order.
        pub const STYLES: [Style; [$(stringify!($module)),*].len()] = [$($style),*];
    };

    (@tests $tests:tt $($module:ident $style:ident $row:tt)*) => {
        $(mod $module { $crate::for_every_style! { @module $style $tests } })*
    };
    (@module $style:ident { $($test:ident)* }) => {
        $(
            #[test]
            fn $test() {
                super::$test(&$crate::styles::$style);
            }
        )*
    };
    ($($test:ident),* $(,)?) => { $crate::for_every_style! { @rows tests { $($test)* } } };
}
