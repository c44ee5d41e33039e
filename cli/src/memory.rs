//! What the machine is and how much memory this process used.

use std::fs;

use lore_eval::report::Machine;

/// Most bytes this process has had resident, where the system tells.
pub fn peak_resident() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Forgets the peak so far, so that [`peak_resident`] is that of what follows. Where the system does not offer it
/// the peak stays that of the whole process.
pub fn reset_peak() {
    // Linux: proc_pid_clear_refs(5), value 5. Nothing depends on it but a figure.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Milliseconds for which the allocator keeps freed memory.
const KEPT: std::ffi::c_long = 30_000;
/// `mi_option_purge_delay` of mimalloc 3, which its bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Lets the allocator keep freed memory for longer than its one second: a training step frees the same hundreds of megabytes
/// that the next one asks for, and what went back to the system comes again page by page. MIMALLOC_PURGE_DELAY in the
/// environment wins.
pub fn keep_freed() {
    set_purge_delay(KEPT);
}

/// Computes `work` with freed memory going back to the system at once: for what has to stay below a bound, and waits for
/// other things than pages.
pub fn without_keeping<T>(work: impl FnOnce() -> T) -> T {
    give_back();
    set_purge_delay(0);
    let result = work();
    keep_freed();
    result
}

fn set_purge_delay(milliseconds: std::ffi::c_long) {
    // SAFETY: changes a number that the allocator reads; the option exists in the version that is built in.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, milliseconds);
    }
}

/// Gives the system what the allocator keeps of freed memory, on every thread that computes, so that a stage does not
/// stand on what the one before it held.
pub fn give_back() {
    // SAFETY: releases only pages that no allocation uses, of the heap of the thread that calls it.
    #[allow(unsafe_code)]
    let collect = || unsafe { libmimalloc_sys::mi_collect(true) };
    rayon::broadcast(|_| collect());
    collect();
}

/// The machine, for the report.
pub fn machine(device: &str) -> Machine {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map(|(_, name)| name.trim());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Machine {
        cpu: model.unwrap_or("unknown").to_owned(),
        threads: rayon::current_num_threads(),
        memory_bytes: field(&memory, "MemTotal:").unwrap_or_default(),
        device: device.to_owned(),
    }
}

/// A field in kilobytes, as the system prints it, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
