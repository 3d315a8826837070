//! A panic on any thread of one rank ends all ranks, with one line that says which rank and where.
//!
//! The program has no switch that makes it panic, so this test program plays the ranks itself: it
//! starts itself under mpirun, and each copy joins the world as the real program does.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, PROMPT, mpirun_is_there};
use rankio::world::World;

/// A rank. Left out of a usual run: it is started by the tests below.
#[test]
#[ignore = "is a rank of the tests in this file"]
fn rank_with_a_panic_in_its_main_thread() {
    let world = World::start().unwrap();
    if world.rank() == 1 {
        panic!("the invariant\nof two lines");
    }
    wait_for_the_end(&world);
}

/// The same, from several I/O threads at once.
#[test]
#[ignore = "is a rank of the tests in this file"]
fn rank_with_a_panic_in_an_io_thread() {
    let world = World::start().unwrap();
    if world.rank() == 2 {
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| panic!("read past the end"))).collect();
        for thread in threads {
            thread.join().ok();
        }
    }
    wait_for_the_end(&world);
}

/// One of several ranks that fail at the same time.
#[test]
#[ignore = "is a rank of the tests in this file"]
fn rank_that_fails_beside_others() {
    let world = World::start().unwrap();
    world.barrier();
    world.fail("no luck");
}

/// Waits as ranks do that know of nothing: in collectives.
fn wait_for_the_end(world: &World) {
    let started = std::time::Instant::now();
    while started.elapsed() < PROMPT {
        // A rank that is gone never arrives.
        world.barrier();
    }
}

fn ranks(count: usize, test: &str) -> launch::Ended {
    let lab = Lab::new();
    let program = std::env::current_exe().unwrap().to_str().unwrap().to_string();
    let words = ["--ignored", "--exact", test, "--nocapture", "--test-threads=1"];
    let words = [vec![program], words.map(String::from).into()].concat();
    lab.program(count, words).fail_with(1)
}

#[test]
fn a_panic_ends_all_ranks_with_one_line() {
    if !mpirun_is_there() {
        return;
    }
    let ended = ranks(3, "rank_with_a_panic_in_its_main_thread");
    ended.one_error(&["rank 1 (", "internal error", "mpi_panic.rs", "the invariant of two lines"]);
    let ended = ranks(4, "rank_with_a_panic_in_an_io_thread");
    ended.one_error(&["rank 2 (", "internal error", "mpi_panic.rs", "read past the end"]);
}

#[test]
fn ranks_that_fail_together_each_say_so_in_a_line_of_its_own() {
    if !mpirun_is_there() {
        return;
    }
    let ended = ranks(4, "rank_that_fails_beside_others");
    assert!(!ended.errors().is_empty(), "{ended}");
    for line in ended.errors() {
        assert!(line.ends_with("): no luck"), "{ended}");
    }
}
