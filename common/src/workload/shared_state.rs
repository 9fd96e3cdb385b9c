//! shared-state: tasks move money between the same accounts. Slides 15, 21.

use std::time::{Duration, Instant};

pub(crate) const TASKS: u64 = 4;

pub(crate) const ACCOUNTS: usize = 10;

/// What every account holds at first.
pub(crate) const BALANCE: i64 = 10_000;

/// How long it takes to think. Without it almost no update would be lost. With it, the transfers of
/// one task take longer than its time slice on one core.
const THOUGHT: Duration = Duration::from_micros(2);

/// Ten accounts, and the transfers of four tasks.
#[derive(Clone, Debug)]
pub struct Bank {
    transfers: u64,
}

impl Bank {
    /// Every task makes so many transfers.
    pub fn new(transfers: u64) -> Bank {
        Bank { transfers }
    }

    /// What the accounts hold at first.
    pub fn balances(&self) -> Vec<i64> {
        vec![BALANCE; ACCOUNTS]
    }

    /// The transfers of each task.
    pub fn tasks(&self) -> Vec<Transfers> {
        let tasks = 1..=TASKS;
        tasks.map(|task| Transfers { left: self.transfers, random: task }).collect()
    }

    /// What the accounts hold in the end if no transfer is lost. Their order does not matter.
    pub(crate) fn expected(&self) -> Vec<i64> {
        let mut balances = self.balances();
        for Transfer { from, to, amount } in self.tasks().into_iter().flatten() {
            balances[from] -= amount;
            balances[to] += amount;
        }
        balances
    }
}

/// The transfers of one task; the same on every run.
#[derive(Clone, Debug)]
pub struct Transfers {
    left: u64,
    random: u64,
}

/// Some money, from one account to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub from: usize,
    pub to: usize,
    pub amount: i64,
}

impl Iterator for Transfers {
    type Item = Transfer;

    fn next(&mut self) -> Option<Transfer> {
        self.left = self.left.checked_sub(1)?;
        // Knuth's MMIX generator: its upper half is random enough.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = (self.random >> 33) as usize;
        let from = random % ACCOUNTS;
        let to = (from + 1 + random / ACCOUNTS % (ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + (random / 1000 % 9) as i64;
        Some(Transfer { from, to, amount })
    }
}

/// Thinks about a transfer, for about two microseconds of computing.
pub fn think() {
    let end = Instant::now() + THOUGHT;
    while Instant::now() < end {}
}

/// What the accounts hold in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    pub(crate) balances: Vec<i64>,
}

impl FromIterator<i64> for Totals {
    fn from_iter<I: IntoIterator<Item = i64>>(balances: I) -> Totals {
        Totals { balances: balances.into_iter().collect() }
    }
}

/// How a function leaves the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// All transfers have been made.
    Exact,
    /// No transfer: every task had accounts of its own.
    Untouched,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_neither_make_money_nor_go_nowhere() {
        let bank = Bank::new(1000);
        let all: Vec<Transfer> = bank.tasks().into_iter().flatten().collect();
        assert_eq!(all.len(), 4000);
        assert!(all.iter().all(|t| t.from != t.to && t.from < ACCOUNTS && t.to < ACCOUNTS));
        assert!(all.iter().all(|t| (1..10).contains(&t.amount)));
        let expected = bank.expected();
        assert_eq!(expected.iter().sum::<i64>(), BALANCE * ACCOUNTS as i64);
        // Every account is in use, by every task: otherwise nothing could be lost there.
        assert!(expected.iter().all(|&balance| balance != BALANCE), "{expected:?}");
        assert_ne!(bank.tasks()[0].next(), bank.tasks()[1].next());
    }
}
