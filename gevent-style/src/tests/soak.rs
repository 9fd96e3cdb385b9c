//! Random operations and kills from greenlets and OS threads, all at once, for a while.

use std::time::Instant;

use super::*;
use crate::gevent::pool::Pool;
use crate::gevent::queue::Queue;

const GREENLETS: usize = 100;
const THREADS: usize = 2;

#[test]
fn a_second() {
    soak(Duration::from_secs(1));
}

#[test]
#[ignore = "takes half a minute"]
fn half_a_minute() {
    let before = resident_kib();
    soak(Duration::from_secs(3));
    let warm = resident_kib();
    soak(Duration::from_secs(27));
    let after = resident_kib();
    println!("resident: {before} KiB, after 3 s {warm} KiB, after 30 s {after} KiB");
    // A leak would leak in each of some hundred thousand operations.
    assert!(after < warm + 8 * 1024, "grew from {warm} to {after} KiB");
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What all of them share.
struct Shared {
    until: Instant,
    count: Mutex<u64>,
    read: RwLock<u64>,
    changed: Condvar,
    queue: Queue<u64>,
    done: AtomicUsize,
    counted: AtomicUsize,
}

fn soak(span: Duration) {
    let shared = Arc::new(Shared {
        until: Instant::now() + span,
        count: Mutex::new(0),
        read: RwLock::new(0),
        changed: Condvar::new(),
        queue: Queue::bounded(50),
        done: AtomicUsize::new(0),
        counted: AtomicUsize::new(0),
    });
    let theirs = shared.clone();
    greenlets(move || {
        let threads = (0..THREADS).map(|i| {
            let shared = theirs.clone();
            thread::spawn(move || keep_on(&shared, i))
        });
        let threads: Vec<_> = threads.collect();
        let mut random = Random(77);
        let mut tasks: Vec<Option<Greenlet<()>>> = (0..GREENLETS).map(|_| None).collect();
        while Instant::now() < theirs.until {
            // One of them is killed, joined, and replaced.
            let i = random.below(GREENLETS);
            if let Some(task) = tasks[i].take() {
                task.kill();
                let _ = task.join();
            }
            let shared = theirs.clone();
            let seed = random.next() as usize;
            tasks[i] = Some(greenlet::spawn(move || keep_on(&shared, seed)));
            thread::sleep(Duration::from_micros(300));
        }
        for task in tasks.into_iter().flatten() {
            task.kill();
            let _ = task.join();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let counted = shared.counted.load(Ordering::SeqCst) as u64;
    assert_eq!(*shared.count.lock().unwrap_or_else(PoisonError::into_inner), counted);
    println!("{} operations", shared.done.load(Ordering::SeqCst));
}

fn keep_on(shared: &Arc<Shared>, seed: usize) {
    let mut random = Random(seed as u64 + 1);
    let (mut near, mut far) = UnixStream::pair().unwrap();
    while Instant::now() < shared.until {
        if one_operation(shared, &mut random, &mut near, &mut far).is_err() {
            // A killed read or write: the two ends no longer agree on what was sent.
            return;
        }
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
}

fn one_operation(
    shared: &Arc<Shared>,
    random: &mut Random,
    near: &mut UnixStream,
    far: &mut UnixStream,
) -> io::Result<()> {
    let short = Duration::from_micros(random.next() % 2_000);
    match random.below(12) {
        0 => thread::sleep(short),
        1 => thread::yield_now(),
        2 => echo(random, near, far)?,
        3 => {
            near.set_read_timeout(Some(short + Duration::from_micros(1)))?;
            let error = near.read(&mut [0]).unwrap_err();
            near.set_read_timeout(None)?;
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
        }
        4 => {
            let mut count = shared.count.lock().unwrap_or_else(PoisonError::into_inner);
            let before = *count;
            thread::sleep(Duration::from_micros(50)); // with the lock
            *count = before + 1;
            shared.counted.fetch_add(1, Ordering::SeqCst);
        }
        5 => {
            *shared.read.write().unwrap_or_else(PoisonError::into_inner) += 1;
            thread::yield_now();
            let _seen = *shared.read.read().unwrap_or_else(PoisonError::into_inner);
        }
        6 => {
            let count = shared.count.lock().unwrap_or_else(PoisonError::into_inner);
            drop(shared.changed.wait_timeout(count, short));
        }
        7 => shared.changed.notify_all(),
        8 => drop(shared.queue.try_put(random.next())),
        9 => drop(shared.queue.get_timeout(short)),
        10 => {
            let panicking = greenlet::spawn(|| resume_unwind(Box::new("on purpose")));
            assert!(panicking.join().is_err());
        }
        // The waits of an OS thread cannot be ended.
        _ if !may::coroutine::is_coroutine() => {}
        _ => {
            let _ = with_timeout(short, || Pool::new(2).map(0..3_u64, greenlet_sleep));
        }
    }
    Ok(())
}

fn greenlet_sleep(tenths: u64) {
    timeout::sleep(Duration::from_micros(100 * tenths));
}

/// What goes in one end comes out of the other.
fn echo(random: &mut Random, near: &mut UnixStream, far: &mut UnixStream) -> io::Result<()> {
    let sent = random.next().to_ne_bytes();
    near.write_all(&sent)?;
    let mut got = [0; 8];
    far.read_exact(&mut got)?;
    assert_eq!(got, sent);
    Ok(())
}

/// Numbers without a pattern that matters: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
