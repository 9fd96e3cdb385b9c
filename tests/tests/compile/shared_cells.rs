//! Balances that two threads share: plain cells are refused (E0277), atomics are allowed.

#[cfg(atomics)]
type Number = std::sync::atomic::AtomicI64;
#[cfg(not(atomics))]
type Number = std::cell::Cell<i64>;

pub fn careless(balances: std::sync::Arc<Vec<Number>>) {
    let other = balances.clone();
    let task = std::thread::spawn(move || drop(other));
    drop(balances);
    task.join().expect("it does not panic");
}
