//! What happens at the limits of the machine.

use super::*;
use crate::gevent::pool::Pool;

#[test]
fn beyond_what_the_machine_can_hold_spawn_says_so() {
    // In a process of its own: otherwise the other tests could not spawn.
    let test = "tests::limits::as_many_as_possible";
    let program = std::env::current_exe().unwrap();
    let arguments = ["--exact", test, "--ignored", "--nocapture"];
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("vm.max_map_count"), "{said}");
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn as_many_as_possible() {
    greenlets(|| {
        let gate = Event::new();
        let mut tasks = Vec::new();
        let error = loop {
            let gate = gate.clone();
            match greenlet::try_spawn(move || gate.wait()) {
                Ok(task) => tasks.push(task),
                Err(error) => break error,
            }
        };
        println!("{} greenlets, then: {error}", tasks.len());
        // There are fewer only if other tests run in this process too.
        assert!(tasks.len() <= greenlet::most() && tasks.len() > greenlet::most() * 9 / 10);
        // `spawn` says the same when it is joined.
        let late = greenlet::spawn(|| ()).join().unwrap_err();
        assert_eq!(late.downcast_ref::<io::Error>().unwrap().kind(), error.kind());
        // One place is enough for a pool to report that each item could not be started.
        let last = tasks.pop().unwrap();
        last.kill();
        assert!(last.join().is_err());
        let results: Vec<_> = Pool::new(10).imap_unordered(0..5, |n| n).collect();
        assert_eq!(results.len(), 5);
        assert!(results.iter().all(|result| result.as_ref().unwrap_err().is::<io::Error>()));
        gate.set();
        assert!(tasks.into_iter().all(|task| task.join().is_ok()));
        // A greenlet that has finished frees its place.
        greenlet::try_spawn(|| ()).unwrap().join().unwrap();
    });
}
