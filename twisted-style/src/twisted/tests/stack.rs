//! Tests run on threads with a stack of 2 MiB: one call per link would need more than that.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::twisted::defer::{Deferred, succeed};
use crate::twisted::inline::inline_callbacks;
use crate::twisted::locks::DeferredQueue;

#[test]
fn the_stack_does_not_grow_with_a_chain_of_a_million_callbacks() {
    let (resolver, mut deferred) = Deferred::new();
    for _ in 0..1_000_000 {
        deferred = deferred.add_callback(|n| Ok(n + 1));
    }
    resolver.callback(0);
    assert_eq!(result_of(deferred), "1000000");
}

#[test]
fn the_stack_does_not_grow_with_a_chain_of_a_million_that_is_dropped_before_it_fires() {
    let (resolver, mut deferred) = Deferred::new();
    for _ in 0..1_000_000 {
        deferred = deferred.add_callback(|n: i32| Ok(n + 1));
    }
    drop(deferred);
    drop(resolver);
}

#[test]
fn the_stack_does_not_grow_with_a_chain_of_a_million_that_is_cancelled_at_its_end() {
    let (resolver, mut deferred) = Deferred::new();
    for _ in 0..1_000_000 {
        deferred = deferred.add_callback(|n: i32| Ok(n + 1));
    }
    deferred.cancel();
    assert_eq!(result_of(deferred), "failed: cancelled");
    drop(resolver);
}

#[test]
fn the_stack_does_not_grow_with_deferreds_that_return_deferreds_100_000_deep() {
    fn deeper(level: i32) -> Deferred<i32> {
        succeed(level)
            .add_callback(|level| if level == 100_000 { succeed(level) } else { deeper(level + 1) })
    }
    assert_eq!(result_of(deeper(0)), "100000");
}

#[test]
fn the_stack_does_not_grow_with_a_tower_of_100_000_deferreds_each_waiting_for_the_next() {
    let (resolver, mut deferred) = Deferred::new();
    for _ in 0..100_000 {
        let below = deferred;
        deferred = succeed(()).add_callback(move |()| below);
    }
    resolver.callback(1);
    assert_eq!(result_of(deferred), "1");
}

#[test]
fn the_stack_does_not_grow_with_a_ring_of_100_000_queues() {
    let queues: Vec<_> = (0..100_000).map(|_| DeferredQueue::new()).collect();
    let home = Rc::new(Cell::new(0));
    for n in 0..queues.len() {
        let (next, home) = (queues.get(n + 1).cloned(), home.clone());
        drop(queues[n].get().add_callback(move |token: usize| {
            match next {
                Some(next) => next.put(token + 1)?,
                None => home.set(token),
            }
            Ok(())
        }));
    }
    queues[0].put(1).expect("a get waits");
    assert_eq!(home.get(), 100_000);
}

#[test]
fn the_stack_does_not_grow_with_an_async_block_that_awaits_a_million_times() {
    let queue = DeferredQueue::new();
    let taken = queue.clone();
    let sum = inline_callbacks(async move {
        let mut sum = 0_u64;
        for _ in 0..1_000_000 {
            sum += taken.get().await?;
        }
        Ok(sum)
    });
    for _ in 0..1_000_000 {
        queue.put(1).expect("it has no limit");
    }
    assert_eq!(result_of(sum), "1000000");
}
