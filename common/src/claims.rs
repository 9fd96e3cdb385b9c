//! What the talk claims: number, slide, and what it says, in our words.

/// One claim of the talk.
pub struct Text {
    pub id: &'static str,
    pub slide: &'static str,
    pub says: &'static str,
}

const fn text(id: &'static str, slide: &'static str, says: &'static str) -> Text {
    Text { id, slide, says }
}

/// All claims, in the talk's order.
pub const ALL: [Text; 44] = [
    text("C1", "2", "concurrency is not parallel computing"),
    text("C2", "3", "one after the other, waits add up, and so does work"),
    text("T1", "6", "threads have a simple, synchronous API"),
    text("T2", "6", "threads are preempted without being asked"),
    text("T3", "6", "the order of threads differs between runs"),
    text("T4", "7-8", "the waits of threads overlap"),
    text("T5", "9-11", "CPU-bound threads are no faster"),
    text("T6", "12", "under a GIL one thread runs at a time"),
    text("T7", "13", "one thread under a GIL loses nothing"),
    text("T8", "14", "three threads under a GIL gain nothing, and fight"),
    text("T9", "15", "threads are not good for CPU-bound work"),
    text("T10", "15", "others stay responsive while a thread computes"),
    text("T11", "15", "threads that share state lose updates"),
    text("P1", "16", "processes have a simple, synchronous API"),
    text("P2", "16", "processes are preempted without being asked"),
    text("P3", "16", "the order of processes differs between runs"),
    text("P4", "17", "the waits of processes overlap"),
    text("P5", "18-20", "CPU-bound processes are as fast as the cores allow"),
    text("P6", "21", "processes are good for parallel processing"),
    text("P7", "21", "a process costs more memory and time than a thread"),
    text("P8", "21", "nothing is shared; what is shared loses updates"),
    text("K1", "22", "coroutines run in the same order every time"),
    text("K2", "22", "nothing runs until the running one yields"),
    text("K3", "23", "generators: yield"),
    text("K4", "23", "delegation: all passes through yield from"),
    text("K5", "23", "greenlets: switch by name, parent and child"),
    text("K6", "24-26", "CPU-bound greenlets are no faster"),
    text("K7", "27", "the first result comes long before the last"),
    text("K8", "27", "the caller decides what runs next"),
    text("A1", "28", "one blocking call stalls all others"),
    text("A2", "28", "one thread serves many connections by events"),
    text("A3", "29", "callbacks, coroutines, both: the same task"),
    text("G1", "30", "implicit: it reads as blocking code"),
    text("G2", "30", "an API like that of threads"),
    text("G3", "30", "patched, unmodified blocking code cooperates"),
    text("G4", "30", "an event loop underneath"),
    text("W1", "33", "an explicit event loop: run, stop"),
    text("W2", "33", "batteries: protocols, lines, timers, thread pool"),
    text("W3", "33", "Deferreds: callback and errback chains"),
    text("W4", "33", "blocking work is deferred to a thread"),
    text("S1", "36", "a callback API"),
    text("S2", "36", "a coroutine API over the same loop"),
    text("S3", "36", "an explicit loop, and a replaceable one"),
    text("S4", "36", "it comes with the standard library"),
];
