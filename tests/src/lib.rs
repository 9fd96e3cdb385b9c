//! Builds and drives the programs of all styles.
//!
//! | module | what lives there |
//! |---|---|
//! | [`programs`] | every version by name; built once; run, or started and interrupted |
//! | [`traces`] | what a program may leave behind: processes, sockets |
//! | [`costs`] | the shape of the table "what a task costs" |
//! | [`foreign`] | a web server that shares no line with the programs it is fetched from |
//! | [`reports`] | what a program reports as JSON |
//! | [`peers`] | the peers of a server, well-behaved and not |

pub mod costs;
pub mod foreign;
pub mod peers;
pub mod programs;
pub mod reports;
pub mod traces;

/// Makes a test of every function named, for every version: `cargo test -p tests on_smol::`
/// runs all tests of one version, `cargo test -p tests ::with_failures` one test of all.
#[macro_export]
macro_rules! for_every_version {
    ($($test:ident),* $(,)?) => {
        $crate::for_every_version! { @ threads THREADS $($test)* }
        $crate::for_every_version! { @ processes PROCESSES $($test)* }
        $crate::for_every_version! { @ coroutines COROUTINES $($test)* }
        $crate::for_every_version! { @ gevent_style GEVENT_STYLE $($test)* }
        $crate::for_every_version! { @ twisted_style TWISTED_STYLE $($test)* }
        $crate::for_every_version! { @ on_tokio ON_TOKIO $($test)* }
        $crate::for_every_version! { @ on_async_std ON_ASYNC_STD $($test)* }
        $crate::for_every_version! { @ on_smol ON_SMOL $($test)* }
    };
    (@ $module:ident $version:ident $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test(&tests::programs::$version);
                }
            )*
        }
    };
}
