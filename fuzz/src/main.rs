//! Runs one target of `videogen::fuzzing` under libFuzzer; `scripts/fuzz` builds and
//! calls it. An input may not make the target hold more memory at once than
//! `ROOM`: then the allocator gives none, and that is a crash like any other.

#![no_main]

use std::alloc::System;
use std::sync::LazyLock;
use std::{env, fs};

use cap::Cap;
use libfuzzer_sys::fuzz_target;
use videogen::fuzzing::{Target, target};

/// What one input of at most 4 KiB may make us hold, in bytes.
const ROOM: usize = 4 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = env::var("VIDEOGEN_FUZZ_TARGET").expect("VIDEOGEN_FUZZ_TARGET names the target");
    target(&name).unwrap_or_else(|| panic!("there is no target {name}"))
});

/// Leaves the seeds where the fuzzer looks for its first inputs, and lets the target
/// build what it keeps for all inputs.
fn begin() {
    let folder = env::var("VIDEOGEN_FUZZ_CORPUS").expect("VIDEOGEN_FUZZ_CORPUS names the folder of inputs");
    for (number, seed) in (TARGET.seeds)().into_iter().enumerate() {
        fs::write(format!("{folder}/seed-{number}"), &seed).expect("the folder can be written to");
        (TARGET.check)(&seed);
    }
}

fuzz_target!(init: begin(), |data: &[u8]| {
    let limited = ALLOCATOR.set_limit(ALLOCATOR.allocated() + ROOM);
    (TARGET.check)(data);
    assert!(limited.and(ALLOCATOR.set_limit(usize::MAX)).is_ok(), "the allocator takes no limit");
});
