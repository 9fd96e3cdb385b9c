//! One thread may write to the accounts; two cannot both borrow them for that (E0499).

pub fn careless(balances: &mut [i64]) {
    std::thread::scope(|tasks| {
        tasks.spawn(|| balances[0] -= 1);
        #[cfg(not(alone))]
        tasks.spawn(|| balances[0] += 1);
    });
}
